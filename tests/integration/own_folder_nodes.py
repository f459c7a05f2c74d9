"""Nodes that Ray's autoscaler starts on this machine, each with a folder of its own."""

import functools
import tempfile
from typing import Any
from unittest import mock

from ray._private import parameter
from ray.autoscaler._private.fake_multi_node.node_provider import FakeMultiNodeProvider


class OwnFolderNodes(FakeMultiNodeProvider):
    """As Ray tests its autoscaler, but that there all nodes use the folder of the head.

    There each new node unpacks the code of a job anew, and takes it away from the processes of the
    others while it does: one that just then loads torch ends, as its working directory is gone.
    """

    def _create_node_with_resources_and_labels(self, *given: Any) -> None:
        own = tempfile.mkdtemp(prefix="node-", dir=self.provider_config["folder"])
        params = functools.partial(parameter.RayParams, temp_dir=own)
        with self.lock, mock.patch.object(parameter, "RayParams", params):
            super()._create_node_with_resources_and_labels(*given)
