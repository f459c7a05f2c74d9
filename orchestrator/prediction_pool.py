"""The pool of actors that a command predicts with, fitted into the cluster.

DRIVER. Imports Ray's libraries: the command imports it when it has connected.
"""

from __future__ import annotations

from orchestrator.cluster import nodes
from orchestrator.config.evaluation import EvaluateConfig
from orchestrator.config.production import AdaptConfig, DiagnoseConfig
from orchestrator.inference.actors import plan_actors
from orchestrator.inference.batch_run import Pool
from orchestrator.quiet import quiet_libraries


def ready_pool(
    config: EvaluateConfig | DiagnoseConfig | AdaptConfig, precision: str, num_rows: int
) -> Pool:
    """Plan the pool; Ray must be initialised.

    Args:
        config: how many actors with what, as asked for.
        precision: as the experiment asks for it.
        num_rows: to predict.
    """
    quiet_libraries()
    plan = plan_actors(
        nodes(),
        actors=config.actors,
        gpus_per_actor=config.gpus_per_actor,
        num_batches=-(-num_rows // config.batch_size),
    )
    return Pool(plan, precision, config.batch_size, config.timeout_s)
