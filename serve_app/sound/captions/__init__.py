"""Which word of a spoken answer is heard when: estimates from its letters and its pauses."""

from serve_app.sound.captions.captions import Caption, Captions

__all__ = ["Caption", "Captions"]
