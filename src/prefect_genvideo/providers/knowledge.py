"""What a client knows of models: their rules, their defaults, and what the account is offered."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

from prefect_genvideo.media.inspect import MediaInfo
from prefect_genvideo.models import Problem, VideoRequest
from prefect_genvideo.providers.assets import gather
from prefect_genvideo.providers.limits import NOTHING_KNOWN, ModelFacts, ModelLimits, ModelRules
from prefect_genvideo.providers.rules import Rule, Wanted, layered, problems_of


class ModelKnowledge(ABC):
    """The part of a client that judges requests before anything is sent.

    Attributes:
        model_rules: What a user states of models beyond the built-in tables.
        takes_asset_ids: Whether `asset://` ids of the provider's own library are assets here.
    """

    model_rules: ModelRules = ModelRules()
    takes_asset_ids: ClassVar[bool] = False

    @abstractmethod
    def effective(self, request: VideoRequest) -> VideoRequest:
        """Return the request with the model's defaults filled in where the API requires a value."""

    @abstractmethod
    def rules(self, model: str) -> tuple[Rule, ...]:
        """Return the documented rules that a request for this model must keep."""

    def related_rules(self, model: str) -> tuple[Rule, ...]:
        """Return what is known only of other models like this one; a request that breaks it gets a warning."""
        del model
        return ()

    @abstractmethod
    async def models(self) -> list[str]:
        """Return the names of the models that the account is offered now.

        Raises:
            RejectedError: The key was refused.
            TransientError: The list could not be fetched.
        """

    def known_limits(self, model: str) -> tuple[ModelLimits, str]:
        """Return what the built-in tables say of a model, and how that is known: `documented` or `family`."""
        del model
        return NOTHING_KNOWN, ""

    async def prices(self) -> dict[str, str]:
        """Return what the provider's price list says, by model and in its own words; empty where it shows none."""
        return {}

    def validate(self, request: VideoRequest, media: Mapping[str, MediaInfo] | None = None) -> list[Problem]:
        """Return every documented rule that the request breaks, all at once. Uses no network.

        Args:
            request: The request; defaults are filled in first.
            media: Facts of assets, keyed as in `request.assets()`. Local files and data URLs that are not in it
                are inspected here; links are taken on trust.
        """
        full = self.effective(request)
        facts, problems = gather(full, media or {}, takes_asset_ids=self.takes_asset_ids)
        rules = layered(self.rules(full.model), self._stated(full.model))
        return problems + problems_of(rules, Wanted(full, facts))

    def warnings(self, request: VideoRequest, media: Mapping[str, MediaInfo] | None = None) -> list[Problem]:
        """Return what the request breaks of rules that are known only of other models; the provider may take it.

        Args:
            request: The request; defaults are filled in first.
            media: Facts of assets, keyed as in `request.assets()`. Nothing else is looked at.
        """
        full = self.effective(request)
        stated = {rule.states for rule in self._stated(full.model)}
        related = [rule for rule in self.related_rules(full.model) if rule.states not in stated]
        return problems_of(related, Wanted(full, media or {}))

    async def catalog(self) -> list[ModelFacts]:
        """Return the models that the account is offered now, with what is known of each.

        Raises:
            RejectedError: The key was refused.
            TransientError: The list could not be fetched.
        """
        names, prices = await self.models(), await self.prices()
        return [self._facts(name, prices.get(name, "")) for name in names]

    def _facts(self, name: str, price: str) -> ModelFacts:
        stated, (known, basis) = self.model_rules.of(name), self.known_limits(name)
        if stated != NOTHING_KNOWN:
            basis = "stated"
        limits = stated.over(known)
        return ModelFacts(name, limits, basis if limits != NOTHING_KNOWN else "", price)

    def _stated(self, model: str) -> tuple[Rule, ...]:
        return self.model_rules.of(model).rules(self.model_rules.source)


def with_defaults(request: VideoRequest, defaults: Mapping[str, Any]) -> VideoRequest:
    """Return the request with these values in the fields that are not given.

    Args:
        request: The request.
        defaults: By field of the request.
    """
    missing = {field: value for field, value in defaults.items() if getattr(request, field) is None}
    return request.model_copy(update=missing) if missing else request
