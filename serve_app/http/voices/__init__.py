"""`/v1/audio/voices`: what a `voice` may name, and recordings that become one."""
