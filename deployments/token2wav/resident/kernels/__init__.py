"""Triton kernels. Each runs under `TRITON_INTERPRET=1` on a CPU too, for tests of tiny sizes."""
