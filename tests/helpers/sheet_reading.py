"""Reads the pictures of a contact sheet."""

import cv2

from extract.preview.drawing import GAP, HEADER, MARGIN, THUMB, TIME_LINE, TITLE_LINE


def thumbnail(path, *, row=0, column=0, row_height=TITLE_LINE + 8 + THUMB + TIME_LINE + 16):
    """RGB (128, 128, 3) from the sheet."""
    sheet = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
    top, left = HEADER + row * row_height + TITLE_LINE + 8, MARGIN + column * (THUMB + GAP)
    return sheet[top : top + THUMB, left : left + THUMB]
