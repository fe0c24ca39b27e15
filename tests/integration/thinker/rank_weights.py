"""What a rank of vLLM holds, for tests: named as `worker_extension_cls`, so workers inherit it."""

from typing import Any


class RankWeights:
    """Questions that a test asks each worker through `collective_rpc`."""

    def process_id(self) -> int:
        import os

        return os.getpid()

    def matrix_shapes(self: Any) -> dict[str, list[int]]:
        """[rows, columns, …] that this rank has of every matrix of its model, by vLLM's name.

        Of vLLM's own layers as they say it: a CPU empties their weights once it has packed them.
        """
        shapes = {}
        for name, layer in self.model_runner.get_model().named_modules():
            if hasattr(layer, "output_size_per_partition"):
                rows, columns = layer.output_size_per_partition, layer.input_size_per_partition
                shapes[f"{name}.weight"] = [rows, columns]
            elif hasattr(layer, "num_embeddings_per_partition"):
                rows, columns = layer.num_embeddings_per_partition, layer.embedding_dim
                shapes[f"{name}.weight"] = [rows, columns]
            else:
                for part, value in layer.named_parameters(recurse=False):
                    if value.dim() > 1:
                        shapes[f"{name}.{part}"] = list(value.shape)
        return shapes
