"""Whether a GPU multiplies rightly under a share.

`python -m deployments.nvidia_mps_check` exits with 1 where it does not.

On an H200 with CUDA 13.0, cuBLAS's kernels for half precision leave tiles of the result unwritten
where a share gives 78, 98 or 112 of the 132 multiprocessors (60, 75 and 85 %). With 32, 66 and 124
of them (25, 50 and 95 %) all products are right. cuBLAS reports no error in either case.
"""

import sys

import torch

ROWS = (1, 8, 37, 64, 100, 256, 512)
INPUTS_OUTPUTS = ((512, 512), (512, 2048), (1280, 5120), (5120, 1280), (3584, 3584), (3584, 18944))
TYPES = (torch.bfloat16, torch.float16)
# Of products of unit variance, over 60 times what half precision rounds away. A tile that is left
# unwritten holds `UNWRITTEN`.
TOLERANCE = 0.3
UNWRITTEN = 7777.0


def wrong_products(device: str) -> list[str]:
    """The products that come out wrong, of the sizes that the stages multiply, as M×K×N."""
    torch.manual_seed(0)
    wrong = []
    for dtype in TYPES:
        for rows in ROWS:
            for inputs, outputs in INPUTS_OUTPUTS:
                left = torch.randn(rows, inputs, device=device, dtype=dtype)
                right = torch.randn(inputs, outputs, device=device, dtype=dtype) / inputs**0.5
                product = torch.full((rows, outputs), UNWRITTEN, device=device, dtype=dtype)
                torch.mm(left, right.T.contiguous().T, out=product)
                exact = left.float() @ right.float()
                if not bool(((product.float() - exact).abs() < TOLERANCE).all()):
                    wrong.append(f"{rows}×{inputs}×{outputs}")
    return wrong


if __name__ == "__main__":
    torch.backends.cuda.matmul.allow_tf32 = False
    if wrong := wrong_products("cuda"):
        processors = torch.cuda.get_device_properties(0).multi_processor_count
        products = len(TYPES) * len(ROWS) * len(INPUTS_OUTPUTS)
        sys.exit(f"{len(wrong)} of {products} products are wrong on {processors} multiprocessors")
