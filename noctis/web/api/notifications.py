"""Notifications, their deliveries, the rules, and receipts."""

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field

from noctis.notifications import Channel, DeliveryState, Kind, Phase
from noctis.notify import outbox, queries
from noctis.notify.rules import EMAIL_MAX, NAME_MAX, RECIPIENTS_MAX, URL_MAX, Draft, Rule, Rules
from noctis.notify.testing import send_test
from noctis.receipts.day import Summing, parse_day
from noctis.receipts.document import Stored, as_csv, as_text
from noctis.receipts.keeper import find
from noctis.users.roles import Right
from noctis.web.access import Caller, LoggedIn, allow
from noctis.web.api.schemas import Body, Text
from noctis.web.fields import PAGE, After, Limit, RowId, Words
from noctis.web.site import OnSite, Site

router = APIRouter(prefix="/api/v1", tags=["notifications"])


class NotificationOut(BaseModel):
    """Something that somebody was told of."""

    id: int
    uid: str = Field(description="What receivers know it by: the webhook-id.")
    kind: str
    phase: Phase
    facility: str | None
    at: str
    sentence: str
    data: dict[str, Any]
    deliveries: dict[DeliveryState, int] = Field(description="How many are in which state.")


class NotificationPage(BaseModel):
    items: list[NotificationOut]
    next: str | None


class DeliveryOut(BaseModel):
    """One notification on its way to one address."""

    id: int
    uid: str
    kind: str
    phase: Phase
    facility: str | None
    at: str
    sentence: str
    rule: str
    rule_name: str
    channel: Channel
    address: str = Field(description="An e-mail address, or the beginning of a URL.")
    state: DeliveryState
    attempts: int
    next_attempt_at: str
    first_failed_at: str | None
    last_error: str
    created_at: str
    done_at: str | None


class DeliveryPage(BaseModel):
    items: list[DeliveryOut]
    next: str | None


class RuleOut(BaseModel):
    """Who is told of what. Secrets are never shown."""

    id: int | None = Field(description="null: a rule of the configuration, which cannot be changed here.")
    origin: Literal["config", "page"]
    key: str
    name: str
    kinds: list[Kind]
    facility: str | None
    url: str = Field(description="Whole for those who may change it; its beginning for others.")
    recipients: list[str]
    enabled: bool
    secret: str | None = Field(None, description="A secret that was made just now: shown this once.")


class RuleIn(Body):
    name: Annotated[Text, Field(max_length=NAME_MAX)]
    kinds: Annotated[list[Kind], Field(max_length=len(Kind))]
    facility: Annotated[Text | None, Field(max_length=64)] = None
    url: Annotated[Text, Field(max_length=URL_MAX)] = ""
    secret: Annotated[
        Text | None, Field(max_length=200, description="Base64 of 24 to 64 bytes. null: the one it has, or a new one.")
    ] = None
    recipients: Annotated[
        tuple[Annotated[Text, Field(max_length=EMAIL_MAX)], ...], Field(max_length=RECIPIENTS_MAX)
    ] = ()
    enabled: bool = True

    def draft(self) -> Draft:
        given = self.model_dump() | {"kinds": tuple(self.kinds)}
        return Draft(**given)


class Tested(BaseModel):
    uid: str


class ReceiptOut(BaseModel):
    """What a facility sent on one day."""

    facility: str
    day: str
    revision: int
    studies: int
    series: int
    instances: int
    bytes: int
    digest: str
    made_at: str | None


def _rules(site: Site, actor: str) -> Rules:
    return Rules(site.engine, site.settings, actor)


def _rule(rule: Rule, caller: Caller, secret: str | None = None) -> RuleOut:
    return RuleOut(**rule.as_json(whole=caller.may(Right.ADMINISTER)), secret=secret)


@router.get("/notifications", dependencies=[allow(Right.SEE_ALL)])
def list_notifications(
    site: OnSite, facility: Words | None = None, kind: Kind | None = None, limit: Limit = PAGE, after: After = None
) -> NotificationPage:
    """What somebody was told of, the latest first."""
    page = queries.notifications(site.engine, limit, after, kind=kind, facility=facility)
    return NotificationPage(items=[NotificationOut(**row) for row in page.rows], next=page.next)


@router.get("/deliveries", dependencies=[allow(Right.SEE_ALL)])
def list_deliveries(
    site: OnSite,
    state: Annotated[list[DeliveryState] | None, Query()] = None,
    kind: Kind | None = None,
    limit: Limit = PAGE,
    after: After = None,
) -> DeliveryPage:
    """Deliveries, the latest first; `state=dead`: the dead letters."""
    rules = _rules(site, "web").all()
    page = queries.deliveries(site.engine, limit, after, states=state or (), kind=kind, rules=rules)
    return DeliveryPage(items=[DeliveryOut(**row) for row in page.rows], next=page.next)


@router.get("/deliveries/{delivery}", dependencies=[allow(Right.SEE_ALL)])
def show_delivery(site: OnSite, delivery: RowId) -> DeliveryOut:
    """One delivery."""
    return DeliveryOut(**queries.one_delivery(site.engine, delivery, _rules(site, "web").all()))


@router.post("/deliveries/{delivery}/retry", dependencies=[allow(Right.OPERATE)])
def retry_delivery(site: OnSite, caller: LoggedIn, delivery: RowId) -> DeliveryOut:
    """Try it again, now."""
    outbox.retry(site.engine, delivery, caller.name)
    return show_delivery(site, delivery)


@router.post("/deliveries/{delivery}/discard", dependencies=[allow(Right.OPERATE)])
def discard_delivery(site: OnSite, caller: LoggedIn, delivery: RowId) -> DeliveryOut:
    """Give it up for good."""
    outbox.discard(site.engine, delivery, caller.name)
    return show_delivery(site, delivery)


@router.get("/notification-rules", dependencies=[allow(Right.SEE_ALL)])
def list_rules(site: OnSite, caller: LoggedIn) -> list[RuleOut]:
    """All rules, those of the configuration first."""
    return [_rule(each, caller) for each in _rules(site, "web").all()]


@router.post("/notification-rules", dependencies=[allow(Right.ADMINISTER)], status_code=201)
def add_rule(site: OnSite, caller: LoggedIn, body: RuleIn) -> RuleOut:
    """Add a rule."""
    rule, secret = _rules(site, caller.name).add(body.draft())
    return _rule(rule, caller, secret)


@router.put("/notification-rules/{rule}", dependencies=[allow(Right.ADMINISTER)])
def change_rule(site: OnSite, caller: LoggedIn, rule: RowId, body: RuleIn) -> RuleOut:
    """Change a rule; what waits for its webhook goes to the new URL."""
    changed, secret = _rules(site, caller.name).edit(rule, body.draft())
    return _rule(changed, caller, secret)


@router.delete("/notification-rules/{rule}", dependencies=[allow(Right.ADMINISTER)], status_code=204)
def remove_rule(site: OnSite, caller: LoggedIn, rule: RowId) -> None:
    """Remove a rule; what waits for its receivers alone is discarded."""
    _rules(site, caller.name).remove(rule)


@router.post("/notification-rules/{key}/test", dependencies=[allow(Right.ADMINISTER)], status_code=202)
def test_rule(site: OnSite, caller: LoggedIn, key: Annotated[Words, Path(description="The rule's key.")]) -> Tested:
    """Send a test to a rule's receivers."""
    rule = _rules(site, caller.name).get(key)
    return Tested(uid=send_test(site.engine, rule, caller.name))


@router.get("/receipts/{slug}", dependencies=[allow(Right.SEE)])
def list_receipts(site: OnSite, slug: Annotated[Words, Path()], limit: Limit = PAGE) -> list[ReceiptOut]:
    """A facility's receipts, the latest day first."""
    facility = site.registry("web").get(slug)
    return [ReceiptOut(**row) for row in queries.receipts(site.engine, limit, facility_id=facility.id)]


@router.get(
    "/receipts/{slug}/{date}",
    dependencies=[allow(Right.SEE)],
    response_class=StreamingResponse,
    responses={200: {"description": "The receipt.", "content": {"application/json": {}, "text/csv": {}}}},
)
def show_receipt(
    site: OnSite,
    slug: Annotated[Words, Path()],
    date: Annotated[Words, Path(description="YYYY-MM-DD")],
    format: Literal["json", "csv", "text"] = "json",
) -> StreamingResponse:
    """The receipt of one day, as it was made."""
    day = parse_day(date)
    path = find(site.engine, site.settings, slug, day)
    stored = Stored(path)
    name = f"receipt-{slug}-{day.isoformat()}"
    if format == "json":
        return _download(_pieces(path.open("rb")), "application/json", f"{name}.json")
    if format == "csv":
        text = as_csv(stored.lines(), Summing())
        return _download((each.encode() for each in text), "text/csv; charset=utf-8", f"{name}.csv")
    text = as_text(stored.head, stored.lines(), Summing())
    return _download((each.encode() for each in text), "text/plain; charset=utf-8", f"{name}.txt")


def _pieces(file: Any) -> Iterator[bytes]:
    with file:
        while piece := file.read(1 << 16):
            yield piece


def _download(body: Iterator[bytes], kind: str, name: str) -> StreamingResponse:
    return StreamingResponse(body, media_type=kind, headers={"Content-Disposition": f'attachment; filename="{name}"'})
