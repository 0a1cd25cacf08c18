"""What several parts of the API take and give."""

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


def _storable(text: str) -> str:
    if "\0" in text:
        raise ValueError("a NUL character cannot be kept")
    return text


Text = Annotated[str, AfterValidator(_storable)]  # what both databases take


class Body(BaseModel):
    """What somebody sends: a field that is not known is a mistake."""

    model_config = ConfigDict(extra="forbid")


class Problem(BaseModel):
    """What went wrong (RFC 9457)."""

    title: str = Field(description="What happened, and to what.")
    status: int = Field(description="The HTTP status.")
    detail: str | None = Field(None, description="What to do about it.")
