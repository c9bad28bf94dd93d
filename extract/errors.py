"""Every error that a user can cause, as one tree.

ClipseqError                 anything below; its text is one sentence that names the next step (exit code 1)
├── UsageError               the command line means nothing as written (exit code 2)
├── VideoError               one clip cannot be extracted; the batch goes on and the ledger keeps it
│   ├── UnreadableVideoError   the file is missing, empty, no video, or no decoder knows it
│   │   ├── NoVideoStreamError   it opens, and holds sound or text only
│   │   └── NoDecoderError       it holds a video stream of an unknown kind
│   ├── NoFramesError          it opens, and not one frame comes out
│   ├── CorruptVideoError      frames are lost in the middle and --on-corrupt fail was asked for
│   ├── VideoTimeoutError      opening or reading took longer than it may
│   └── UnstorableClipError    its rows cannot be stored: not finite, beyond float16, times that do not rise, another D
├── BackboneError            an unknown backbone, or weights that are missing or do not fit
├── WriteError               a file or folder cannot be written: a full disk, permissions, a name that is taken
├── StoreError               a feature store cannot be read, or not be made
│   ├── RecipeMismatchError    the store was made with another recipe
│   ├── SchemaError            the file is no clipseq store, or of a newer schema
│   └── DamagedShardError      a shard cannot be read, or its digest is wrong
├── TooManyFailuresError     --max-failures was reached
├── LabelError               labels and clips do not fit together
├── ClipError                a clip cannot be batched: no timestep, not finite, or of another width than the rest
├── SplitError               no honest split can be made of these clips
└── RunError                 a run directory is missing, incomplete or of another kind
"""


class ClipseqError(Exception):
    """Base of all errors that a user can cause; `exit_code` is what the command line returns."""

    exit_code = 1


class UsageError(ClipseqError):
    """The command line means nothing as written."""

    exit_code = 2


class VideoError(ClipseqError):
    """One clip cannot be extracted; `stops_job` is whether the user asked for the end of the batch in this case."""

    stops_job = False


class UnreadableVideoError(VideoError):
    """The file is missing, empty, no video, or no decoder knows it."""


class NoVideoStreamError(UnreadableVideoError):
    """The file opens and holds no video, only sound, text or a cover picture."""


class NoDecoderError(UnreadableVideoError):
    """The file holds a video stream that no decoder knows."""


class NoFramesError(VideoError):
    """The file opens as a video and not one frame comes out."""


class CorruptVideoError(VideoError):
    """Frames are lost in the middle and the policy is to fail."""


class VideoTimeoutError(VideoError):
    """Opening or reading took longer than it may."""


class UnexpectedVideoError(VideoError):
    """A fault of this program or of a library that one video brought to light; the other videos go on."""


class UnstorableClipError(VideoError):
    """The rows of one clip cannot be stored, so this clip fails and the store is as it was."""


class BackboneError(ClipseqError):
    """An unknown backbone, or weights that are missing or do not fit."""


class WriteError(ClipseqError):
    """A file or folder cannot be written: a full disk, permissions, a name that is taken.

    Args:
        text: One sentence with the next step.
        number: Of `errno`; 0 where there is none.
    """

    def __init__(self, text: str, number: int = 0) -> None:
        super().__init__(text)
        self.number = number


class StoreError(ClipseqError):
    """A feature store cannot be read, or not be made."""


class RecipeMismatchError(StoreError):
    """The store was made with another recipe."""


class SchemaError(StoreError):
    """The file is no clipseq store, or one of a newer schema."""


class DamagedShardError(StoreError):
    """A shard cannot be read, or its digest is wrong."""


class TooManyFailuresError(ClipseqError):
    """The job was stopped because too many clips failed."""


class LabelError(ClipseqError):
    """Labels and clips do not fit together."""


class ClipError(ClipseqError):
    """A clip cannot be batched: it has no timestep, is not finite, or is of another width than the rest."""


class SplitError(ClipseqError):
    """No honest split can be made of these clips."""


class RunError(ClipseqError):
    """A run directory is missing, incomplete or of another kind."""
