"""Token2Wav on a GPU: every stream's state resident, every step a replayed CUDA graph."""
