"""A window that shows what is watched, with its label. Tk comes with Python, and is imported only here."""

from __future__ import annotations

from typing import Any

from clipseq.live_labels import LiveLabel
from extract.errors import UsageError

LEAST_SIDE = 448  # of the picture on the screen, in pixels


class LabelWindow:
    """The latest picture, and below it label, probability and delay.

    Args:
        title: Of the window.

    Raises:
        UsageError: There is no screen, or Python came without Tk.
    """

    def __init__(self, title: str) -> None:
        try:
            import tkinter

            self._window = tkinter.Tk()
        except ImportError as error:
            raise _no_window(error) from None
        except Exception as error:  # tkinter.TclError, which has no name if the import failed
            if type(error).__name__ != "TclError":
                raise
            raise _no_window(error) from None
        self._is_open = True
        self._window.title(title)
        self._window.protocol("WM_DELETE_WINDOW", self._close)
        self._image: Any = None  # Tk keeps no reference of its own
        self._picture = tkinter.Label(self._window)
        self._text = tkinter.Label(self._window, font=("TkFixedFont", 16))
        self._picture.pack()
        self._text.pack(fill="x")

    def show(self, label: LiveLabel) -> bool:
        """Show a label; False once the user has closed the window."""
        import tkinter

        if not self._is_open:
            return False
        height, width = label.picture.shape[:2]
        pixels = label.picture if label.picture.shape[-1] == 3 else label.picture.repeat(3, axis=-1)
        image = tkinter.PhotoImage(data=b"P6 %d %d 255\n" % (width, height) + pixels.tobytes(), format="PPM")
        self._image = image.zoom(max(1, -(-LEAST_SIDE // width)))
        self._picture.configure(image=self._image)
        self._text.configure(text=label.line())
        self._window.update()
        return self._is_open

    def _close(self) -> None:
        self._is_open = False
        self._window.destroy()


def _no_window(error: Exception) -> UsageError:
    return UsageError(f"--draw needs a screen and Python's tkinter ({error}); leave it out")
