"""The two stages of Step-Audio 2 and what they share.

`thinker` listens and answers in text and audio tokens, `token2wav` turns audio tokens into
sound. The stages never import each other; what passes between them is in `messages`.
"""
