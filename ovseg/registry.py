"""Names of parts to the code that makes them, imported only when it is asked for.

To add a part: one line in a table below, or an entry point in a package of your own (see `ovseg.plugins`).
"""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ovseg.errors import PluginError, RegistryError
from ovseg.plugins import Plugin, plugins, warn_of
from ovseg.suggest import did_you_mean, listed

Part = Callable[..., Any]
"""The class or function that makes a part."""

BUILT_IN = "built-in"
RUN_TIME = "registered at run time"


@dataclass(frozen=True)
class Entry:
    """One registered name.

    Attributes:
        target: ``module:attribute``.
        origin: `BUILT_IN`, `RUN_TIME`, or the distribution that brings it.
    """

    name: str
    target: str
    description: str
    origin: str


class Registry:
    """The parts of one kind: built-in ones, those of plugins and those registered at run time.

    Args:
        kind: what one of them is called, for people: ``mask generator``.
        group: entry-point group of plugins: ``ovseg.mask_generators``. The part after the dot is the name of
            this registry in `REGISTRIES`.
        built_in: name -> (``module:attribute``, one-line description).
        listing: what ``ovseg ls`` shows them with; None is the name of the registry.
    """

    def __init__(
        self, kind: str, group: str, built_in: Mapping[str, tuple[str, str]], *, listing: str | None = None
    ) -> None:
        self.kind = kind
        self.group = group
        self.listing = listing or group.partition(".")[2]
        self._built_in = {
            name: Entry(name, target, description, BUILT_IN)
            for name, (target, description) in built_in.items()
        }
        self._run_time: dict[str, tuple[Entry, Part]] = {}

    def names(self) -> tuple[str, ...]:
        """All names that can be asked for, sorted; warns of each plugin that cannot."""
        usable, refused = self._plugins()
        for plugin in refused:
            warn_of(plugin)
        return tuple(sorted({*self._built_in, *self._run_time, *usable}))

    def entry(self, name: str) -> Entry:
        """What a name stands for, without importing it.

        Raises:
            RegistryError: the name is unknown, or two packages bring it.
            PluginError: the name is of a plugin that cannot be used.
        """
        if name in self._built_in:
            return self._built_in[name]
        if name in self._run_time:
            return self._run_time[name][0]
        usable, refused = self._plugins()
        if name in usable:
            plugin = usable[name]
            return Entry(name, plugin.target, plugin.summary, plugin.owner)
        for plugin in refused:
            if plugin.name == name:
                raise PluginError(plugin.complaint)
        known = sorted({*self._built_in, *self._run_time, *usable})
        raise RegistryError(
            f"There is no {self.kind} named '{name}'.{did_you_mean(name, known)} Known: {listed(known)}. "
            f"'ovseg ls {self.listing}' describes them."
        )

    def get(self, name: str) -> Part:
        """Import and return the class or function behind a name.

        Raises:
            RegistryError: the name is unknown, or two packages bring it.
            PluginError: the name is of a plugin, and its import fails.
        """
        entry = self.entry(name)
        if entry.origin == RUN_TIME:
            return self._run_time[name][1]
        if entry.origin == BUILT_IN:
            return _import(entry.target)
        try:
            return _import(entry.target)
        except Exception as error:  # a stranger's module may raise anything when it is imported
            label = self._plugins()[0][name].label
            raise PluginError(
                f"{label} cannot be used: importing '{entry.target}' failed: {type(error).__name__}: {error}"
            ) from error

    def register(self, name: str, part: Part, *, description: str = "") -> None:
        """Add a class or function under a name, for this process.

        Raises:
            RegistryError: the name is taken.
        """
        owner = self._owner(name)
        if owner is not None:
            raise RegistryError(
                f"The {self.kind} '{name}' is registered twice: by {owner} and by {_target(part)}. "
                "Choose another name for the second."
            )
        self._run_time[name] = (Entry(name, _target(part), description, RUN_TIME), part)

    def faults(self) -> tuple[str, ...]:
        """What is wrong with the plugins of this kind, found by importing each of them."""
        usable, refused = self._plugins()
        imported = [self._import_fault(name) for name in usable]
        return (
            *(plugin.complaint for plugin in refused),
            *(fault for fault in imported if fault is not None),
        )

    def _import_fault(self, name: str) -> str | None:
        try:
            self.get(name)
        except PluginError as error:
            return str(error)
        return None

    def _owner(self, name: str) -> str | None:
        if name in self._built_in:
            return f"ovseg itself ({self._built_in[name].target})"
        if name in self._run_time:
            return self._run_time[name][0].target
        for plugin in plugins(self.group):
            if plugin.name == name:
                return f"the package '{plugin.owner}' ({plugin.target})"
        return None

    def _plugins(self) -> tuple[dict[str, Plugin], list[Plugin]]:
        """Plugins by name, and those that are refused: broken ones and those whose name is taken."""
        found = plugins(self.group)
        usable: dict[str, Plugin] = {}
        refused: list[Plugin] = []
        for plugin in found:
            rivals = [other for other in found if other.name == plugin.name and other is not plugin]
            if plugin.fault is not None:
                refused.append(plugin)
            elif plugin.name in self._built_in:
                refused.append(_taken(plugin, f"ovseg itself ({self._built_in[plugin.name].target})"))
            elif rivals:
                refused.append(_taken(plugin, f"the package '{rivals[0].owner}' ({rivals[0].target})"))
            else:
                usable[plugin.name] = plugin
        return usable, refused


def _taken(plugin: Plugin, owner: str) -> Plugin:
    fault = (
        f"its name is registered twice, by {owner} and by itself ({plugin.target}); uninstall one of them."
    )
    return replace(plugin, fault=fault)


def _target(part: Part) -> str:
    return f"{part.__module__}:{part.__qualname__}"


def _import(target: str) -> Part:
    module, _, path = target.partition(":")
    part: Any = importlib.import_module(module)
    for attribute in path.split("."):
        part = getattr(part, attribute)
    made: Part = part
    return made


METHODS = Registry(
    "method",
    "ovseg.methods",
    {
        "clip_dense": (
            "ovseg.models.clip_dense.method:ClipDense",
            "Patches of a CLIP ViT, named in windows: MaskCLIP, SCLIP, NACLIP, ProxyCLIP",
        ),
        "fcclip": (
            "ovseg.models.fcclip.method:FCCLIP",
            "FC-CLIP: one frozen convolutional CLIP proposes masks and names them",
        ),
        "trident": (
            "ovseg.models.trident.method:Trident",
            "Trident: CLIP names, DINO and SAM join what belongs together, SAM draws the borders",
        ),
    },
    listing="models",
)
BACKBONES = Registry(
    "backbone",
    "ovseg.backbones",
    {
        "clip_convnext": (
            "ovseg.models.fcclip.backbone:clip_convnext",
            "CLIP with a ConvNeXt image tower, frozen",
        ),
        "clip_resnet": (
            "ovseg.models.fcclip.backbone:clip_resnet",
            "CLIP with a ResNet image tower, frozen",
        ),
        "clip_vit": (
            "ovseg.models.clip_vit.backbone:clip_vit",
            "CLIP with a ViT image tower, frozen, its last block to be chosen",
        ),
        "dino": (
            "ovseg.models.dino.encoder:dino",
            "DINO ViT, frozen; an image encoder without a text space",
        ),
    },
)
LAST_BLOCKS = Registry(
    "last block",
    "ovseg.last_blocks",
    {
        "self_attention": (
            "ovseg.models.clip_vit.last_blocks:SelfAttention",
            "The block as it was trained: plain CLIP",
        ),
        "value": (
            "ovseg.models.clip_vit.last_blocks:ValuePath",
            "MaskCLIP: no attention, every token keeps its own value",
        ),
        "correlative": (
            "ovseg.models.clip_vit.last_blocks:CorrelativeAttention",
            "SCLIP: queries look at queries, keys at keys",
        ),
        "neighbour": (
            "ovseg.models.clip_vit.last_blocks:NeighbourAttention",
            "NACLIP: keys look at keys and at what is near",
        ),
        "proxy": (
            "ovseg.models.clip_vit.proxy:ProxyAttention",
            "ProxyCLIP, Trident: another encoder says which tokens belong together",
        ),
    },
)
MASK_GENERATORS = Registry(
    "mask generator",
    "ovseg.mask_generators",
    {
        "mask2former": (
            "ovseg.models.fcclip.mask_generator:Mask2Former",
            "Mask2Former: deformable-attention pixel decoder, masked-attention query decoder",
        ),
        "sam": (
            "ovseg.models.sam.build:sam",
            "Segment Anything: a mask per point, box or mask prompt",
        ),
        "sam_automatic": (
            "ovseg.models.sam.automatic:sam_automatic",
            "Segment Anything: masks of everything, from a grid of points",
        ),
    },
)
CLASSIFIERS = Registry(
    "classifier",
    "ovseg.classifiers",
    {
        "cosine": (
            "ovseg.models.common.cosine:CosineClassifier",
            "Cosine of each pixel's CLIP vector with the class names, nothing trained",
        ),
        "fcclip": (
            "ovseg.models.fcclip.classifier:FCCLIPClassifier",
            "FC-CLIP: geometric ensemble of learned and mask-pooled CLIP scores",
        ),
        "mask_pooled": (
            "ovseg.models.fcclip.mask_pooled:MaskPooledClassifier",
            "Mask-pooled CLIP features against class names, nothing trained",
        ),
    },
)
DATASETS = Registry(
    "dataset",
    "ovseg.datasets",
    {
        "coco_panoptic": (
            "ovseg.data.coco:COCOPanoptic",
            "COCO 2017, 80 things and 53 kinds of stuff: panoptic, instance and semantic truth",
        ),
        "coco_stuff": ("ovseg.data.coco_stuff:COCOStuff", "COCO-Stuff 164k, 171 classes: semantic truth"),
        "coco_object": (
            "ovseg.data.coco_object:COCOObject",
            "COCO-Object, background and 80 things: semantic truth",
        ),
        "ade20k": ("ovseg.data.ade20k:ADE20K", "ADE20K, 150 classes: panoptic, instance and semantic truth"),
        "ade20k_847": ("ovseg.data.ade20k_full:ADE20KFull", "the full ADE20K, 847 classes: semantic truth"),
        "voc21": ("ovseg.data.voc:VOC21", "Pascal VOC 2012, background and 20 objects: semantic truth"),
        "voc20": ("ovseg.data.voc:VOC20", "Pascal VOC 2012, 20 objects: semantic truth"),
        "pascal_context_59": (
            "ovseg.data.pascal_context:PascalContext59",
            "Pascal Context, 59 classes: semantic truth",
        ),
        "pascal_context_60": (
            "ovseg.data.pascal_context:PascalContext60",
            "Pascal Context, background and 59 classes: semantic truth",
        ),
        "pascal_context_459": (
            "ovseg.data.pascal_context:PascalContext459",
            "Pascal Context, 459 classes: semantic truth",
        ),
        "cityscapes": (
            "ovseg.data.cityscapes:Cityscapes",
            "Cityscapes, 19 classes: panoptic, instance and semantic truth",
        ),
        "mapillary_vistas": (
            "ovseg.data.mapillary:MapillaryVistas",
            "Mapillary Vistas 1.2, 65 classes: panoptic and semantic truth",
        ),
        "toyworld": (
            "ovseg.data.toyworld.dataset:Toyworld",
            "a small world that is drawn, not downloaded: panoptic, instance and semantic truth",
        ),
        "folder": ("ovseg.data.folder:FolderDataset", "pictures and labels of your own, in plain folders"),
    },
)
EVALUATORS = Registry(
    "evaluator",
    "ovseg.evaluators",
    {
        "panoptic_quality": (
            "ovseg.evaluation.panoptic_quality:PanopticQuality",
            "PQ, SQ and RQ by the rules of panopticapi",
        ),
        "mean_iou": (
            "ovseg.evaluation.mean_iou:MeanIoU",
            "mIoU in both published conventions, fwIoU, mACC and pACC",
        ),
        "average_precision": (
            "ovseg.evaluation.average_precision:AveragePrecision",
            "COCO's AP and AR of instances, by pycocotools",
        ),
        "cityscapes_ap": (
            "ovseg.evaluation.cityscapes_ap:CityscapesAP",
            "AP of instances by the rules of cityscapesScripts",
        ),
    },
)

REGISTRIES: Mapping[str, Registry] = {
    registry.group.partition(".")[2]: registry
    for registry in (METHODS, BACKBONES, LAST_BLOCKS, MASK_GENERATORS, CLASSIFIERS, DATASETS, EVALUATORS)
}
"""Every registry by the plural that users type: methods, backbones, mask_generators, ..."""
