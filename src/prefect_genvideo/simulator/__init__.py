"""A local server that speaks the providers' protocols and renders real clips. No key, no money, no network.

```python
from prefect_genvideo.simulator import Fault, SimulatorConfig, running_simulator

with running_simulator(SimulatorConfig(polls_to_finish=3)) as sim:
    sim.faults.add(Fault("lost_after", "create", times=1))
    ...  # point a client at sim.sudashui_url, sim.sudashui_files_url, sim.senseaudio_url, sim.ark_url with sim.key
    assert sim.billed == 1
```

Needs the extra `simulator`.
"""

from prefect_genvideo.simulator.app import create_app
from prefect_genvideo.simulator.config import SimulatorConfig
from prefect_genvideo.simulator.dialects import dialects
from prefect_genvideo.simulator.faults import KINDS, Fault
from prefect_genvideo.simulator.manners import Dialect, FileManner
from prefect_genvideo.simulator.purse import MoneyManner
from prefect_genvideo.simulator.server import Simulator, running_simulator, serve
from prefect_genvideo.simulator.tasks import Task

__all__ = [
    "KINDS",
    "Dialect",
    "Fault",
    "FileManner",
    "MoneyManner",
    "Simulator",
    "SimulatorConfig",
    "Task",
    "create_app",
    "dialects",
    "running_simulator",
    "serve",
]
