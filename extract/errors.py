"""Every error that a user can cause, as one tree.

ClipseqError                 any of those below; its text is one sentence that names the next step (exit code 1)
├── UsageError               the command line is not valid (exit code 2)
│   └── InputError             a file or folder that it names is missing, unreadable or useless (exit code 1)
├── VideoError               one clip cannot be extracted; the batch goes on and the ledger records it
│   ├── UnreadableVideoError   the file is missing, empty, not a video, or cannot be decoded
│   │   ├── NoVideoStreamError   it opens, but holds only audio or text
│   │   ├── NoDecoderError       it holds a video stream that FFmpeg cannot decode
│   │   └── RemoteReadError      the server of an address does not give it; every run tries again
│   ├── NoFramesError          it opens, but not one frame can be decoded
│   ├── CorruptVideoError      frames are lost, and --on-corrupt is skip or fail
│   ├── VideoTimeoutError      opening or reading took too long
│   └── UnstorableClipError    its rows cannot be stored: not finite, beyond float16, times not increasing, another D
├── BackboneError            an unknown backbone, or weights that are missing or do not match
├── WriteError               a file or folder cannot be written: a full disk, permissions, a name already in use
├── StoreError               a feature store cannot be read or made
│   ├── RecipeMismatchError    the store was made with another recipe
│   ├── SchemaError            the file is not a clipseq store, or has a newer schema
│   ├── UnknownClipError       it has no such clip
│   └── DamagedShardError      a shard cannot be read, or its digest is wrong
├── TooManyFailuresError     --max-failures was reached
├── ClusterError             the machines of a Ray cluster cannot do the work
├── LabelError               labels and clips do not match
├── ClipError                a clip cannot be batched: no timesteps, not finite, or not as wide as the rest
├── SplitError               no fair split can be made of these clips
├── ExportError              a model cannot be exported, or what was exported gives other numbers
└── RunError                 a run directory is missing, incomplete or of the wrong kind
"""


class ClipseqError(Exception):
    """Base of all errors that a user can cause; `exit_code` is what the command line returns."""

    exit_code = 1


class UsageError(ClipseqError):
    """The command line is not valid."""

    exit_code = 2


class InputError(UsageError):
    """A file or folder named on the command line is missing, cannot be read, or holds nothing of use."""

    exit_code = 1


class VideoError(ClipseqError):
    """One clip cannot be extracted; `stops_job` says whether the user wants the batch to stop in this case."""

    stops_job = False


class UnreadableVideoError(VideoError):
    """The file is missing, empty, not a video, or cannot be decoded."""


class NoVideoStreamError(UnreadableVideoError):
    """The file opens but holds no video, only audio, text or a cover picture."""


class NoDecoderError(UnreadableVideoError):
    """The file holds a video stream that FFmpeg cannot decode."""


class RemoteReadError(UnreadableVideoError):
    """The server of an address does not give the file, which may pass: every run tries again."""


class NoFramesError(VideoError):
    """The file opens as a video, but not one frame can be decoded."""


class CorruptVideoError(VideoError):
    """Frames are lost, and the policy is to skip the clip or fail."""


class VideoTimeoutError(VideoError):
    """Opening or reading took too long."""


class UnexpectedVideoError(VideoError):
    """A bug in this program or a library, triggered by one video; the other videos go on."""


class UnstorableClipError(VideoError):
    """The rows of one clip cannot be stored, so this clip fails and the store is unchanged."""


class BackboneError(ClipseqError):
    """An unknown backbone, or weights that are missing or do not match."""


class WriteError(ClipseqError):
    """A file or folder cannot be written: a full disk, permissions, a name already in use.

    Args:
        text: One sentence with the next step.
        number: The `errno`; 0 if there is none.
    """

    def __init__(self, text: str, number: int = 0) -> None:
        super().__init__(text)
        self.number = number


class StoreError(ClipseqError):
    """A feature store cannot be read or made."""


class RecipeMismatchError(StoreError):
    """The store was made with another recipe."""


class SchemaError(StoreError):
    """The file is not a clipseq store, or has a newer schema."""


class UnknownClipError(StoreError, KeyError):
    """The store has no such clip; also a KeyError, for those who use it as a mapping."""

    __str__ = Exception.__str__  # that of KeyError adds quotes


class DamagedShardError(StoreError):
    """A shard cannot be read, or its digest is wrong."""


class TooManyFailuresError(ClipseqError):
    """The job was stopped because too many clips failed."""


class ClusterError(ClipseqError):
    """The machines of a Ray cluster cannot do the work."""


class LabelError(ClipseqError):
    """Labels and clips do not match."""


class ClipError(ClipseqError):
    """A clip cannot be batched: it has no timesteps, is not finite, or is not as wide as the rest."""


class SplitError(ClipseqError):
    """No fair split can be made of these clips."""


class ExportError(ClipseqError):
    """A model cannot be exported in a format, or what was exported gives other numbers."""


class RunError(ClipseqError):
    """A run directory is missing, incomplete or of the wrong kind."""
