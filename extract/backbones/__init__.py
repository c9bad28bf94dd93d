"""A name or a weights file -> a described backbone; nothing is built until used."""
