"""The voices that were uploaded: one file each, in a folder or an object store that all share.

The ingress writes voices and looks them up; Token2Wav reads their recordings. No message announces
a voice: every replica looks into the store itself, also after a restart.
"""

from deployments.voice_store.fsspec_storage import folder_of
from deployments.voice_store.voice_file import MAX_NAME_CHARS, is_id, tidy_name
from deployments.voice_store.voice_store import EVERYBODY, VoiceStore

__all__ = ["EVERYBODY", "MAX_NAME_CHARS", "VoiceStore", "folder_of", "is_id", "tidy_name"]
