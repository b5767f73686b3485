"""What every place of the dashboard has: the way here, the views, what is wrong, and the keys that apply now."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, cast

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import ModalScreen, Screen
from textual.widgets import Input, Static

from meshfleet.dashboard import acting
from meshfleet.dashboard.deeds import (
    ALL,
    BACK,
    CANCEL,
    DARK,
    HELP,
    QUIT,
    RESUME,
    SAVE,
    SEND,
    VIEWS,
    Deed,
    Subject,
    why_not,
)
from meshfleet.dashboard.listing import Moment
from meshfleet.dashboard.lists.messages import name_of
from meshfleet.dashboard.picture import Picture, Run, Wanted
from meshfleet.dashboard.screens.confirm import Confirm
from meshfleet.dashboard.screens.message_dialog import MessageDialog
from meshfleet.dashboard.screens.resume_dialog import ResumeDialog
from meshfleet.dashboard.screens.template_dialog import TemplateDialog
from meshfleet.dashboard.widgets.fields import Field
from meshfleet.dashboard.widgets.keybar import Key, KeyBar
from meshfleet.dashboard.widgets.title import Title
from meshfleet.dashboard.widgets.views import Views
from meshfleet.mesh.overview import Trail

if TYPE_CHECKING:
    from collections.abc import Mapping

    from meshfleet.dashboard.app import Dashboard

EVERYWHERE = (BACK, HELP, DARK, ALL, QUIT)


def bindings_of(*deeds: Deed) -> list[BindingType]:
    """The keys of a place's deeds, and those that go to the views."""
    views = [Binding(str(number), f"view({number - 1})", name) for number, name in enumerate(VIEWS, 1)]
    own = {deed.key for deed in deeds}
    return [
        *(Binding(deed.key, f"act('{deed.name}')", deed.label, show=False) for deed in deeds),
        *(view for view in views if view.key not in own),
    ]


class Place(Screen[None]):
    """A place one can be at.

    Attributes:
        DEEDS: What can be done here, what is used most first.
        VIEW: Which of the views it belongs to.
        crumb: How the way here calls it.
        fleet_id: The fleet it is about, if it is about one.
    """

    DEEDS: ClassVar[tuple[Deed, ...]] = EVERYWHERE
    VIEW: ClassVar[str] = ""
    AUTO_FOCUS: ClassVar[str | None] = "Lines, Transcript"

    def __init__(self, crumb: str, fleet_id: str | None = None) -> None:
        super().__init__()
        self.crumb = crumb
        self.fleet_id = fleet_id
        self.picture = Picture(0)
        self.moment = Moment(0)

    @property
    def dashboard(self) -> Dashboard:
        """The program this is a place of."""
        return cast("Dashboard", self.app)

    # -- what a place says of itself ----------------------------------------------------------------------------------

    @property
    def wanted(self) -> Wanted:
        """What has to be looked at for this place."""
        return Wanted()

    @property
    def subject(self) -> Subject | None:
        """Whom a deed would be about."""
        return None

    def sender_of(self, trail: Trail | None) -> Subject | None:
        """Whoever sent a message, to be answered; the fleet where that is none of its agents."""
        if trail is None:
            return None
        sender = self.picture.agent_line(trail.from_agent_id)
        if sender is None:
            return Subject(trail.fleet_id, "the fleet")
        name = name_of(trail.from_agent_id, trail.from_role)
        return Subject(trail.fleet_id, name, sender.id, sender.id, name)

    @property
    def copied(self) -> str | None:
        """The id that would be copied."""
        return None

    def runs_in_sight(self, picture: Picture) -> Mapping[str, Run]:
        """The runs whose processes are to be looked at."""
        del picture
        return {}

    def fetch(self, dashboard: Dashboard) -> Any:
        """Get what comes from elsewhere than the ledger; called in another thread, also when somebody has just left."""
        del dashboard
        return None

    def body(self) -> ComposeResult:
        """The widgets of the place itself."""
        return ()

    def show(self, picture: Picture, moment: Moment, fetched: Any) -> None:
        """Show what a look has found."""
        raise NotImplementedError

    # -- the frame ----------------------------------------------------------------------------------------------------

    def compose(self) -> ComposeResult:
        """Put the frame around the place."""
        yield Title()
        yield Views()
        yield Static(id="trouble", markup=False)
        yield from self.body()
        yield Field(id="filter", compact=True)
        yield KeyBar()

    def on_mount(self) -> None:
        """Show what is known at once; the next look brings the rest."""
        self.query_one("#filter", Input).display = False
        self.query_one("#trouble", Static).display = False
        if self.dashboard.looks:
            self.see(self.dashboard.picture, self.dashboard.moment, None)

    def on_screen_resume(self) -> None:
        """Look at once when somebody comes here, or comes back."""
        self.dashboard.look_soon()

    def on_screen_suspend(self) -> None:
        """Have what was said go when a dialog opens, which it would cover."""
        if isinstance(self.app.screen, ModalScreen):
            self.app.clear_notifications()

    def see(self, picture: Picture, moment: Moment, fetched: Any) -> None:
        """Take in what a look has found."""
        self.picture, self.moment = picture, moment
        trouble = self.query_one("#trouble", Static)
        told = self.dashboard.trouble_of(picture)
        trouble.display = told is not None
        trouble.update(told or "")
        self.query_one(Views).show_counts(self.VIEW, self.dashboard.counts_of(picture))
        self.show(picture, moment, fetched)
        self.show_frame()

    def show_frame(self) -> None:
        """Show where one is, and which keys apply."""
        if not self.is_mounted:
            return
        self.query_one(Title).show_place(self.dashboard.crumbs, self.dashboard.state_of(self.picture))
        self.query_one(KeyBar).show_keys(
            [Key(deed.shown_key, self.label_of(deed), deed.name, self.why_not(deed)) for deed in self.deeds_now]
        )

    @property
    def deeds_now(self) -> list[Deed]:
        """What is shown among the keys: a deed for which there is no occasion is left out."""
        out = {deed for deed, there in ((ALL, self.fleet_id is not None), (BACK, self.goes_back)) if not there}
        return [deed for deed in self.DEEDS if deed not in out]

    @property
    def goes_back(self) -> bool:
        """Whether there is something to go back to."""
        return len(self.dashboard.crumbs) > 1

    def label_of(self, deed: Deed) -> str:
        """What a deed would do now, in a word."""
        return deed.label

    def why_not(self, deed: Deed) -> str | None:
        """Why a deed can't be done now."""
        if deed is BACK and not self.goes_back:
            return "this is where you began; q leaves"
        if deed is ALL and self.fleet_id is None:
            return "these are those of all fleets already"
        return why_not(deed, self.subject, self.picture, self.dashboard.why_read_only)

    # -- deeds --------------------------------------------------------------------------------------------------------

    def action_act(self, name: str) -> None:
        """Do a deed, or say why it can't be done."""
        deed = next(deed for deed in self.DEEDS if deed.name == name)
        reason = self.why_not(deed)
        if reason is not None:
            self.notify(reason, title=f"{deed.label}: not now", severity="warning", markup=False)
        else:
            getattr(self, f"deed_{name}")()
            self.show_frame()

    def on_key_bar_pressed(self, event: KeyBar.Pressed) -> None:
        """Do what a click asks for."""
        self.action_act(event.deed)

    def on_views_chosen(self, event: Views.Chosen) -> None:
        """Go to the view that was clicked on."""
        self.action_view(event.place)

    def on_title_back(self, event: Title.Back) -> None:
        """Go back to the crumb that was clicked on."""
        self.dashboard.go_back(event.places)

    def action_view(self, place: int) -> None:
        """Go to a view, of the fleet one is in."""
        self.dashboard.go_to_view(VIEWS[place], self.fleet_id)

    def deed_back(self) -> None:
        """Go back."""
        self.dashboard.go_back()

    def deed_all(self) -> None:
        """Leave the fleet."""
        self.dashboard.go_to_view(self.VIEW, None)

    def deed_help(self) -> None:
        """Say what can be done here."""
        self.dashboard.show_help(self.DEEDS, self.VIEW)

    def deed_dark(self) -> None:
        """Use the other theme."""
        self.dashboard.toggle_theme()

    def deed_quit(self) -> None:
        """Leave."""
        self.dashboard.exit()

    def deed_copy(self) -> None:
        """Copy the id."""
        if self.copied is None:
            self.notify("there is nothing here that has an id", severity="warning")
            return
        self.dashboard.copy_to_clipboard(self.copied)
        self.notify(self.copied, title="copied", markup=False)

    def deed_cancel(self) -> None:
        """Ask, and cancel."""
        subject = self._subject()
        what = "agent" if subject.agent_id else "fleet"
        question = f"Cancel the {what} {subject.name}, with all its processes and whatever it spawned?"
        act = partial(acting.cancel, self.dashboard.ledger, subject.whom)
        self.app.push_screen(
            Confirm(question, yes="Cancel it", no="Leave it"), lambda yes: self.dashboard.act(act) if yes else None
        )

    def deed_resume(self) -> None:
        """Ask how, and resume."""
        subject = self._subject()

        def go_on(how: tuple[str, bool] | None) -> None:
            if how is not None:
                prompt, fresh = how
                self.dashboard.act(
                    partial(acting.resume, self.dashboard.ledger, subject.whom, prompt or None, fresh=fresh)
                )

        self.app.push_screen(ResumeDialog(subject.name), go_on)

    def deed_send(self) -> None:
        """Ask what, and send it."""
        subject = self._subject()

        def go_on(what: tuple[str, str] | None) -> None:
            if what is not None:
                self.dashboard.act(partial(acting.send, self.dashboard.ledger, subject.fleet_id, subject.to, *what))

        self.app.push_screen(MessageDialog(subject.to_name), go_on)

    def deed_save(self) -> None:
        """Ask under which name, and save."""
        subject = self._subject()
        fleet = self.picture.fleet(subject.fleet_id)

        def go_on(what: tuple[str, str] | None) -> None:
            if what is not None:
                self.dashboard.act(partial(acting.save_as_template, self.dashboard.ledger, subject.fleet_id, *what))

        self.app.push_screen(TemplateDialog((fleet.name if fleet else None) or ""), go_on)

    def _subject(self) -> Subject:
        subject = self.subject
        if subject is None:
            raise RuntimeError("a deed was done to nobody")
        return subject


ACTS = (CANCEL, RESUME, SEND, SAVE)
