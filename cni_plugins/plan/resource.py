"""What a plan asks for, and what knows how to get rid of it again.

A **Resource** is one thing that must exist for an attachment, with everything it depends on already known: one kernel
transaction. Its **Kind** is stateless and knows, for many at once, how such things are found and dropped.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Sequence
    from typing import Any, Generic, Protocol, TypeVar

    from cni_plugins.kernel.process import Work
    from cni_plugins.plan.world import World
    from cni_plugins.protocol.attachment import Attachment

    F = TypeVar("F")
    Item = dict[str, Any]
    Recorded = list[tuple[Attachment, Item]]
    Valid = set[tuple[str, str]] | None
    Part = Generator["Resource[Any]", Any, F]
    """A piece of a plan, which yields what it needs and is sent the fact."""

    class _Typed(Generic[F]):
        """Gives the type checker the fact's type; at run time there is nothing to it."""

    class Need(Protocol):
        """What a plan calls: make the resource so (or foretell, or verify it) and tell the fact."""

        def __call__(self, resource: Resource[F], /) -> F: ...

        def at_once(self, parts: Sequence[Part[F]], /) -> list[F]:
            """The same for what several parts of the plan ask for, each in its order: ADD may make those of one while another waits."""

else:
    F = None

    class _Typed:
        __slots__ = ()
        __class_getitem__ = classmethod(lambda cls, _: cls)


class Drift(Exception):
    """CHECK found that something is not as ADD left it; the text says what was expected and what is there.

    `fact` is what the plan goes on with, None for the predicted one.
    """

    def __init__(self, text: str, fact: object = None) -> None:
        super().__init__(text)
        self.fact = fact


class Owned:
    """Something of ours and whose it is: the attachment's 16-byte key, and what its record or its mark says of it."""

    __slots__ = ("item", "key")

    def __init__(self, key: bytes, item: Item) -> None:
        self.key = key
        self.item = item


class Kind:
    """How resources of one kind are found and dropped. Stateless: one instance each.

    `name` is how records name it. A plugin lists its kinds parents before children; they are dropped the other way round.
    `parent` marks what must outlive everything else of an attachment: it stays when anything else could not be removed.
    `bulk` is true where many are dropped at the cost of one; others are dropped one by one.
    `repeatable` is true where a second ADD of a live attachment finds everything as it wants it, and is no error.
    `recorded` is false where the thing itself says whose it is and `find` sees it without a record.
    """

    name = ""
    parent = False
    recorded = True
    repeatable = False
    bulk = False

    def drop(self, world: World, owned: list[Owned]) -> None:
        """Remove these (one, unless the kind is `bulk`) where they are and carry their owner's mark; what is gone is no error.

        Raises CniError or OSError when one is still there.
        """
        raise NotImplementedError(self.name)

    def find(self, world: World, att: Attachment) -> list[Item]:
        """What this attachment may have here when no record tells: derived names, prevResult, what the reference plugins leave."""
        return []

    def marked(self, world: World, network: str) -> Iterable[Owned]:
        """Everything here that carries the mark of any attachment of `network`, found without records.

        An empty `network` asks for those of any network; a thing that does not tell its owner any more comes with an empty key then.
        """
        return ()

    def collect(self, world: World, valid: Valid) -> None:
        """GC by a store or a delegate of its own; what is `marked` is collected anyhow.

        `valid` are the attachments to keep, as (container ID, interface); None when the runtime gave no list. Raises CniError.
        """

    def lost(self, world: World) -> bool:
        """Whether somebody has taken what all things of this kind stand in, as `nft flush ruleset` takes tables. Changes nothing."""
        return False

    def lost_unheard(self, world: World) -> bool:
        """The same of what the kernel announces no changes of. An agent asks every few seconds, so it must cost next to nothing."""
        return False

    def restore(self, world: World, recorded: Recorded) -> set[bytes]:
        """Put back what the records of live attachments speak of, after it was `lost`; what is there stays.

        All at once, since the attachments may be hundreds. Returns the keys of those that anything of their own was lacking of.
        Raises CniError.
        """
        return set()

    def alive(self, world: World, item: Item) -> bool:
        """Whether what a record speaks of still works; an attachment is alive while anything of it is."""
        return False


class Resource(_Typed[F]):
    """One thing that must exist. `kind` is None for what is shared or dies with its parent: never dropped by itself.

    `atomic` says that a failed `apply` left nothing, so that undoing need not (and must not) drop it.
    """

    __slots__ = ()
    kind: Kind | None = None
    atomic = False

    def refuse(self, world: World, att: Attachment) -> None:
        """Raise CniError when this cannot be applied for this attachment. Changes nothing."""

    def predict(self, world: World, att: Attachment) -> F:
        """Foretell the fact, as far as it can be known. Changes nothing."""
        raise NotImplementedError

    def apply(self, world: World, att: Attachment) -> F:
        """Make it so. Idempotent for the same owner. Raises CniError."""
        raise NotImplementedError

    def applying(self, world: World, att: Attachment) -> Work[F]:
        """`apply` for who does other things meanwhile: yields the programs that it needs executed."""
        yield from ()  # none
        return self.apply(world, att)

    def verify(self, world: World, att: Attachment) -> F:
        """Compare with what is there. Changes nothing. Raises Drift."""
        raise NotImplementedError

    def ready(self, world: World) -> None:
        """Raise CniError when this could not be applied now, whoever asked (STATUS). Changes nothing."""

    def record(self, world: World, att: Attachment) -> Item:
        """What its kind needs to drop it. Only asked of resources that have a kind."""
        return {}
