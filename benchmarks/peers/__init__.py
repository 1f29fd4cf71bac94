"""The same faults on other vendors' SDKs: how many jobs they pay for one wanted video, and how many they deliver.

Every SDK runs unchanged, in an environment of its own, against a local server that plays its vendor's job
protocol, counts what it accepted (accepted = billed) and injects one fault or one `kill -9`. Run it with
`python -m benchmarks.peers`, or call `run_peers`.
"""

from benchmarks.peers.runner import run_peers

__all__ = ["run_peers"]
