"""One response as events tell it."""

from dataclasses import dataclass, field
from typing import Any, Literal

from deployments.messages import Usage
from serve_app.http.realtime.ids import new_id
from serve_app.http.realtime.items import Item
from serve_app.http.realtime.response_plan import Plan

Json = dict[str, Any]
Status = Literal["in_progress", "completed", "cancelled", "failed", "incomplete"]
Reason = Literal["turn_detected", "client_cancelled", "max_output_tokens"]


@dataclass(slots=True, eq=False)
class Response:
    plan: Plan
    conversation_id: str
    id: str = field(default_factory=lambda: new_id("resp"))
    status: Status = "in_progress"
    status_details: Json | None = None
    output: list[Item] = field(default_factory=list)
    usage: Usage | None = None

    def end(self, status: Status, reason: Reason | None = None, error: Json | None = None) -> None:
        """Say how it ended."""
        self.status = status
        if status == "completed":
            return
        self.status_details = {"type": status}
        if reason is not None:
            self.status_details["reason"] = reason
        if error is not None:
            self.status_details["error"] = {k: error[k] for k in ("type", "code", "message")}

    def told(self) -> Json:
        plan = self.plan
        output = {"format": plan.format.told, "voice": plan.voice_name}
        return {
            "object": "realtime.response",
            "id": self.id,
            "status": self.status,
            "status_details": self.status_details,
            "output": [item.shown() for item in self.output],
            "conversation_id": self.conversation_id if plan.joins else None,
            "output_modalities": [plan.modality],
            "max_output_tokens": plan.max_output_tokens or "inf",
            "audio": {"output": output},
            "metadata": plan.metadata,
            "usage": told_usage(self.usage) if self.status != "in_progress" else None,
        }


def told_usage(usage: Usage | None) -> Json:
    """Token counts under OpenAI's names; of an answer that was cut off none are known."""
    usage = usage or Usage(0, 0)
    return {
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        "input_tokens": usage.prompt_tokens,
        "output_tokens": usage.completion_tokens,
        "input_token_details": {
            "text_tokens": usage.prompt_tokens - usage.prompt_audio_tokens,
            "audio_tokens": usage.prompt_audio_tokens,
            "cached_tokens": usage.cached_prompt_tokens,
        },
        "output_token_details": {
            "text_tokens": usage.completion_tokens - usage.audio_tokens,
            "audio_tokens": usage.audio_tokens,
        },
    }
