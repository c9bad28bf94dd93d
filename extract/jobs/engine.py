"""Settings -> the backbone that they name, and what computes it here."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from extract.backbones.backbone import Backbone
from extract.backbones.registry import load_backbone
from extract.jobs.settings import ExtractSettings

if TYPE_CHECKING:
    from extract.engines.engine import Engine

log = logging.getLogger(__name__)


def backbone_of(settings: ExtractSettings) -> Backbone:
    """The backbone that settings name; raises like `load_backbone`."""
    return load_backbone(
        settings.backbone,
        weights=settings.weights,
        image_size=settings.image_size,
        channels=settings.channels,
        pool=settings.pool,
        spec=settings.spec,
    )


def engine_for(backbone: Backbone, settings: ExtractSettings) -> Engine:
    """What computes a backbone; raises like `make_engine`."""
    from extract.engines.registry import make_engine

    began = time.perf_counter()
    engine = make_engine(backbone, kind=settings.engine, batch_size=settings.batch_size, precision=settings.precision)
    log.info("%s is ready on %s after %.1f s", backbone.name, engine.name, time.perf_counter() - began)
    return engine
