"""The old address of `enter_flows_home`, which stands in users' deployments."""

from prefect_genvideo.deployments import enter_flows_home

__all__ = ["enter_flows_home"]
