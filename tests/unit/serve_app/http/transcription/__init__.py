"""Parts of the transcription room."""
