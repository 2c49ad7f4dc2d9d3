"""What the OpenAPI document says of bodies that drop-in routes read themselves."""

from __future__ import annotations

from typing import Any, Final

LRM_FAILURE: Final[dict[str, Any]] = {
    "description": "An error",
    "content": {
        "application/json": {
            "schema": {
                "type": "object",
                "required": ["success", "error", "code"],
                "properties": {
                    "success": {"type": "boolean", "const": False},
                    "error": {"type": "string"},
                    "code": {"type": "string"},
                },
            }
        }
    },
}
ROBOMETER_FAILURE: Final[dict[str, Any]] = {
    "description": "An error",
    "content": {
        "application/json": {
            "schema": {
                "type": "object",
                "required": ["detail"],
                "properties": {"detail": {"type": "string"}},
            }
        }
    },
}
OPENAI_FAILURE: Final[dict[str, Any]] = {
    "description": "An error",
    "content": {
        "application/json": {
            "schema": {
                "type": "object",
                "required": ["error"],
                "properties": {
                    "error": {
                        "type": "object",
                        "required": ["message", "type", "param", "code"],
                        "properties": {
                            "message": {"type": "string"},
                            "type": {"type": "string"},
                            "param": {"type": ["string", "null"]},
                            "code": {"type": ["string", "null"]},
                        },
                    }
                },
            }
        }
    },
}


def json_body(*required: str) -> dict[str, Any]:
    """A JSON object with fields that it must have; others are that project's own."""
    return _body("application/json", {"type": "object", "required": list(required)})


def form_body() -> dict[str, Any]:
    """A form of samples and the ``.npy`` files that they refer to."""
    return _body(
        "multipart/form-data",
        {
            "type": "object",
            "required": ["sample_0"],
            "properties": {
                "sample_0": {"type": "string", "description": "A sample, as JSON."},
                "use_frame_steps": {"type": "string", "enum": ["true", "false"]},
            },
        },
    )


def _body(kind: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"requestBody": {"required": True, "content": {kind: {"schema": schema}}}}
