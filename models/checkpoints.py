"""Hold the architectures and published weights that are known by name; checkpoints.md is the readable twin."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from oscine.models.encoders.base.provenance import NOT_STATED
from oscine.models.hub.encoder_files import WEIGHTS

ONNX_ENCODER = "ONNXEncoder"  # the class whose encoders are files of another library's


class Architecture(NamedTuple):
    """One named size of an encoder, and where it is described."""

    encoder: str  # the name of its class
    config: dict[str, Any]
    paper: str
    parameters: int  # 0 where they lie in a file of another library's
    sample_rate: int  # Hz
    seconds: float  # of a clip
    sizes: Mapping[str, int] = {}  # dim and depth, where config has neither

    @property
    def of_a_file(self) -> bool:
        """Whether it is an ONNX file as a whole, so that without the file there is nothing."""
        return self.encoder == ONNX_ENCODER


AUDIO_MAE_PAPER = "arXiv 2207.06405"
AUDIOMOSAIC_PAPER = "arXiv 2605.14231"
AVES_PAPER = "arXiv 2210.14493"
AVES2_PAPER = "arXiv 2508.11845"
AUDIOPROTOPNET_PAPER = "arXiv 2404.10420"
BAT_PAPER = "arXiv 2602.16305"
BEATS_PAPER = "arXiv 2212.09058"
BIRDSET_PAPER = "arXiv 2403.10380"
BIRD_MAE_PAPER = "arXiv 2504.12880"
BIRDNET_PAPER = "Zenodo 20703646"
EAT_PAPER = "arXiv 2401.03497"
HUBERT_PAPER = "arXiv 2106.07447"
NATURELM_PAPER = "arXiv 2411.07186"
OPENBEATS_PAPER = "arXiv 2507.14129"
PERCH_PAPER = "arXiv 2508.04665"
SSLAM_PAPER = "arXiv 2506.12222"
WAV2VEC2_PAPER = "arXiv 2006.11477"
TINY = "oscine, for tests and two CPU cores"

TINIEST = {"dim": 192, "depth": 6, "heads": 3}
SMALL = {"dim": 384, "depth": 12, "heads": 6}
BASE = {"dim": 768, "depth": 12, "heads": 12}
LARGE = {"dim": 1024, "depth": 24, "heads": 16}
HUGE = {"dim": 1280, "depth": 32, "heads": 16}
NORMALISED = {"normalise": True}
PRE_NORM = {"pre_norm": True, "normalise": True}
ONE_LAYER = {"depth": 1}
# Of files that onnxruntime computes: the outputs by their names, or by their places where no name is known.
BIRDNET_V3 = {
    "dim": 1280, "sample_rate": 32_000, "seconds": 3.0, "embedding": 1, "scores": 0, "activation": "none",
    "class_file": "BirdNET+_V3.0-preview3.1_Global_11K_Labels.csv", "class_column": "sci_name",
}  # fmt: skip
PERCH_V2 = {
    "dim": 1536, "sample_rate": 32_000, "seconds": 5.0, "grid": [16, 4], "input": "inputs", "embedding": "embedding",
    "patch_map": "spatial_embedding", "scores": "label", "scale": 0.97, "shift": -10.0, "peak": 0.25,
    "class_file": "labels.csv", "class_column": "inat2024_fsd50k",
    "step_seconds": 0.32,  # 32 frames of 10 ms: the last of 16 steps is filled up
}  # fmt: skip
CONVNEXT_BASE = {"depths": [3, 3, 27, 3], "widths": [128, 256, 512, 1024]}
CONVNEXT_SIZES = {"dim": 1024, "depth": 3}  # of the last stage, whose blocks are the layers

# Parameters, rate and clip are what the class makes of the config: they stand here because it needs torch to say so.
ARCHITECTURES = {
    "aves_base": Architecture("Wav2Vec2", BASE, AVES_PAPER, 94_370_944, 16_000, 5.0),
    "audio_mae_base": Architecture("AudioMAE", BASE, AUDIO_MAE_PAPER, 85_649_664, 16_000, 10.0),
    "audiomosaic_tiny": Architecture("AudioMosaic", TINIEST, TINY, 2_818_368, 16_000, 10.0),
    "audiomosaic_base": Architecture("AudioMosaic", BASE, AUDIOMOSAIC_PAPER, 85_651_200, 16_000, 10.0),
    "bat_tiny": Architecture("BAT", TINIEST, TINY, 3_039_744, 16_000, 10.23),
    "bat_small": Architecture("BAT", SMALL, BAT_PAPER, 23_364_096, 16_000, 10.23),
    "bat_base": Architecture("BAT", BASE, BAT_PAPER, 92_734_464, 16_000, 10.23),
    "bat_large": Architecture("BAT", LARGE, BAT_PAPER, 328_290_304, 16_000, 10.23),
    "beats_base": Architecture("BEATs", BASE, BEATS_PAPER, 90_311_792, 16_000, 10.23),
    "beats_large": Architecture("BEATs", LARGE, OPENBEATS_PAPER, 311_376_576, 16_000, 10.23),
    "bird_mae_tiny": Architecture("BirdMAE", TINIEST, TINY, 2_768_832, 32_000, 5.0),
    "bird_mae_base": Architecture("BirdMAE", BASE, BIRD_MAE_PAPER, 85_453_056, 32_000, 5.0),
    "bird_mae_large": Architecture("BirdMAE", LARGE, BIRD_MAE_PAPER, 302_840_832, 32_000, 5.0),
    "bird_mae_huge": Architecture("BirdMAE", HUGE, BIRD_MAE_PAPER, 630_342_400, 32_000, 5.0),
    "birdnet_v3": Architecture(ONNX_ENCODER, BIRDNET_V3, BIRDNET_PAPER, 0, 32_000, 3.0, ONE_LAYER),
    "convnext_base": Architecture("ConvNeXt", CONVNEXT_BASE, BIRDSET_PAPER, 87_562_368, 32_000, 5.0, CONVNEXT_SIZES),
    "perch_v2": Architecture(ONNX_ENCODER, PERCH_V2, PERCH_PAPER, 0, 32_000, 5.0, ONE_LAYER),
    "birdaves_base": Architecture("Wav2Vec2", BASE, AVES_PAPER, 94_370_944, 16_000, 5.0),
    "birdaves_large": Architecture("Wav2Vec2", LARGE, AVES_PAPER, 315_427_968, 16_000, 5.0),
    "eat_base": Architecture("EAT", BASE, EAT_PAPER, 85_647_360, 16_000, 10.23),
    "hubert_base": Architecture("Wav2Vec2", BASE | NORMALISED, HUBERT_PAPER, 94_370_944, 16_000, 5.0),
    "hubert_large": Architecture("Wav2Vec2", LARGE | PRE_NORM, HUBERT_PAPER, 315_437_696, 16_000, 5.0),
    "sslam_base": Architecture("EAT", BASE, SSLAM_PAPER, 85_647_360, 16_000, 10.23),
    "wav2vec2_base": Architecture("Wav2Vec2", BASE | NORMALISED, WAV2VEC2_PAPER, 94_370_944, 16_000, 5.0),
    "wav2vec2_large": Architecture("Wav2Vec2", LARGE | PRE_NORM, WAV2VEC2_PAPER, 315_437_696, 16_000, 5.0),
}


class Published(NamedTuple):
    """Weights that are known by name."""

    name: str  # architecture.tag, the tag naming the data
    data: str
    file: str
    licence: str  # as its authors state it, or NOT_STATED
    state: str
    repository: str | None = None  # on the Hub; None: embedded, or a file that its authors offer, for checkpoint_path
    revision: str | None = None  # a commit to pin; None: the newest of `main`
    sha256: str | None = None  # None: only the Hub's own hash is known, when the file is fetched
    supervised: bool = False  # whether labels were used
    settings: Mapping[str, Any] = {}  # of the encoder that was trained, where its architecture has others
    described: str = ""  # the paper about these weights, where it is another than their architecture's

    @property
    def paper(self) -> str:
        return self.described or ARCHITECTURES[self.architecture].paper

    @property
    def architecture(self) -> str:
        return self.name.partition(".")[0]

    @property
    def by_name(self) -> bool:
        """Whether its name is enough to load it."""
        return self.state == EMBEDDED or self.repository is not None


AUDIOSET = "AudioSet-2M"
LIBRISPEECH = "LibriSpeech (960 h)"
LIBRI_LIGHT = "Libri-Light (60,000 h)"
AVES2_ALL = "AudioSet and animal sounds (esp-aves2, all)"
AVES_BIO = "FSD50K, AudioSet and VGGSound (animals)"
AVES_ALL = "FSD50K, AudioSet, VGGSound"
AVES_BIOX = f"{AVES_BIO}, Xeno-canto"
AVES_BIOXN = f"{AVES_BIOX}, iNaturalist"
AVES2_BIO = "animal sounds (esp-aves2, bio)"
NATURELM = "NatureLM-audio's sounds and texts"
OPENBEATS = "OpenBEATs' open collection"
XCL = "XCL-1.7M (Xeno-canto, BirdSet)"
LAYOUT = "layout"  # loaded from seeded weights in the published layout, never from the real file
UNVERIFIED = "unverified"  # besides, its authors' code or a repository of theirs was not there to compare with
EMBEDDED = "embedded"  # made by oscine, in this package
PICKLED = "pytorch_model.bin"  # what the repositories of facebook on the Hub hold instead of safetensors

AUDIOMOSAIC_HUB = "hanxunh/AudioMosaic-vit-b16-"  # and what follows it
# Of fewer positions than AudioSet's, and of other means and spreads.
ESC_50 = {"seconds": 5.0, "frames": 512, "mean": -6.6268077, "std": 5.358466}
SPEECH_COMMANDS = {"seconds": 1.0, "frames": 128, "mean": -6.845978, "std": 5.5654526}
AUDIOMOSAIC_TUNED: tuple[tuple[str, str, str, Mapping[str, Any]], ...] = (
    ("audiomosaic_base.as2m_ft", AUDIOSET, "finetune-as2m", {}),
    ("audiomosaic_base.as20k_ft", f"{AUDIOSET}, AudioSet-20K", "finetune-as20k", {}),
    ("audiomosaic_base.esc50_1", f"{AUDIOSET}, ESC-50 (split 1)", "finetune-esc-split1", ESC_50),
    ("audiomosaic_base.esc50_2", f"{AUDIOSET}, ESC-50 (split 2)", "finetune-esc-split2", ESC_50),
    ("audiomosaic_base.esc50_3", f"{AUDIOSET}, ESC-50 (split 3)", "finetune-esc-split3", ESC_50),
    ("audiomosaic_base.esc50_4", f"{AUDIOSET}, ESC-50 (split 4)", "finetune-esc-split4", ESC_50),
    ("audiomosaic_base.esc50_5", f"{AUDIOSET}, ESC-50 (split 5)", "finetune-esc-split5", ESC_50),
    ("audiomosaic_base.speech_v1", f"{AUDIOSET}, Speech Commands v1", "finetune-spc1", SPEECH_COMMANDS),
    ("audiomosaic_base.speech_v2", f"{AUDIOSET}, Speech Commands v2", "finetune-spc2", SPEECH_COMMANDS),
)
ESP, CC_BY_NC_SA = "EarthSpeciesProject/", "CC BY-NC-SA 4.0"
# Means and spreads of log mel values that weights were trained with, as those who train and serve them have them.
AVES2_SCALE = {"mean": -5.553, "std": 4.606}
ESPNET_SCALE = {"mean": 15.66439, "std": 6.38312}
# AudioProtoPNet's spectrogram has twice as many bands as ConvNeXt_BS', and a frame every 8 ms instead of 10.
AUDIOPROTOPNET_MEL = {"n_fft": 2048, "hop": 256, "bands": 256, "mean": -13.369, "std": 13.162}


def aves2(name: str, data: str, file: str, described: str = AVES2_PAPER, **more: Any) -> Published:
    """Describe weights of the Earth Species Project, each in a repository that is called as its file."""
    return Published(
        name, data, f"{file}.safetensors", CC_BY_NC_SA, LAYOUT, f"{ESP}{file}", described=described, **more
    )


def audioprotopnet(prototypes: int) -> Published:
    """Describe AudioProtoPNet's weights with so many prototypes a class."""
    repository = f"DBD-research-group/AudioProtoPNet-{prototypes}-BirdSet-XCL"
    return Published(
        f"convnext_base.ppnet{prototypes}", XCL, WEIGHTS, "CC BY-NC 4.0", LAYOUT, repository, supervised=True,
        settings=AUDIOPROTOPNET_MEL, described=AUDIOPROTOPNET_PAPER,
    )  # fmt: skip


# The first row of an architecture is what its bare name means. No revision could be looked up, so none is pinned.
PUBLISHED = (
    Published("audio_mae_base.as2m", AUDIOSET, "pretrained.pth", "CC BY-NC 4.0 (README: CC BY 4.0)", LAYOUT),
    Published("audiomosaic_base.as2m", AUDIOSET, WEIGHTS, "MIT", LAYOUT, f"{AUDIOMOSAIC_HUB}pretrained"),
    *(
        Published(
            name, data, WEIGHTS, "MIT", LAYOUT, AUDIOMOSAIC_HUB + repository, supervised=True, settings=settings
        )
        for name, data, repository, settings in AUDIOMOSAIC_TUNED
    ),
    Published("aves_base.bio", AVES_BIO, "aves-base-bio.torchaudio.pt", "MIT", LAYOUT),
    Published("aves_base.all", AVES_ALL, "aves-base-all.torchaudio.pt", "MIT", LAYOUT),
    Published("bat_base.as2m", AUDIOSET, WEIGHTS, "MIT", LAYOUT, "lrauch/BAT-vit-b16-pretrainedAS2M"),
    Published("beats_base.as2m", AUDIOSET, "BEATs_iter3.pt", "MIT", UNVERIFIED),
    Published(
        "beats_base.as2m_iter0", AUDIOSET, "beats_encoder_iter0.pt", NOT_STATED, UNVERIFIED, settings=ESPNET_SCALE
    ),
    Published(
        "beats_base.as2m_iter1", AUDIOSET, "beats_encoder_iter1.pt", NOT_STATED, UNVERIFIED, settings=ESPNET_SCALE
    ),
    aves2("beats_base.aves2_sl_all", AVES2_ALL, "esp-aves2-sl-beats-all", supervised=True),
    aves2("beats_base.aves2_sl_bio", AVES2_BIO, "esp-aves2-sl-beats-bio", supervised=True),
    aves2("beats_base.nlm", NATURELM, "esp-aves2-naturelm-audio-v1-beats", NATURELM_PAPER, supervised=True),
    Published(
        "beats_base.openbeats", OPENBEATS, "OpenBEATs-Base-i3.pt", NOT_STATED, UNVERIFIED, described=OPENBEATS_PAPER
    ),
    Published("beats_large.openbeats", OPENBEATS, "OpenBEATs-Large-i3.pt", NOT_STATED, UNVERIFIED),
    Published("bird_mae_base.xcl", XCL, WEIGHTS, NOT_STATED, LAYOUT, "DBD-research-group/Bird-MAE-Base"),
    Published("bird_mae_large.xcl", XCL, WEIGHTS, NOT_STATED, LAYOUT, "DBD-research-group/Bird-MAE-Large"),
    Published("bird_mae_huge.xcl", XCL, WEIGHTS, NOT_STATED, LAYOUT, "DBD-research-group/Bird-MAE-Huge"),
    Published(
        "bird_mae_tiny.esc10", "ESC-10", WEIGHTS, "Apache-2.0", EMBEDDED,
        sha256="5575596b071f826dea863ff0ea7e44c2d20136f6db721f2ca4cf02969ab8f769",
    ),
    Published(
        "birdnet_v3.global_11k", "Xeno-canto and others, 11,560 classes",
        "BirdNET+_V3.0-preview3.1_Global_11K_FP32.onnx", "CC BY-SA 4.0", UNVERIFIED, supervised=True,
        # As the authors' package birdnet records it, and the next one.
        sha256="999bb627e8954516d6a222eb76438b896fafc3791c2d10e72f02147ccd562c05",
    ),
    Published(
        "birdnet_v3.global_11k_fp16", "Xeno-canto and others, 11,560 classes",
        "BirdNET+_V3.0-preview3.1_Global_11K_FP16.onnx", "CC BY-SA 4.0", UNVERIFIED, supervised=True,
        sha256="b42679c722f87f48dd19ccfb846e56db3dfa7e2bb3d846fba121d978b5a27170",
    ),
    Published(
        "convnext_base.xcl", XCL, WEIGHTS, NOT_STATED, LAYOUT, "DBD-research-group/ConvNeXT-Base-BirdSet-XCL",
        supervised=True,
    ),
    *(audioprotopnet(prototypes) for prototypes in (1, 5, 10, 20)),
    Published("birdaves_base.biox", AVES_BIOX, "birdaves-biox-base.torchaudio.pt", "MIT", LAYOUT),
    Published("birdaves_large.biox", AVES_BIOX, "birdaves-biox-large.torchaudio.pt", "MIT", LAYOUT),
    Published("birdaves_large.bioxn", AVES_BIOXN, "birdaves-bioxn-large.torchaudio.pt", "MIT", LAYOUT),
    Published("eat_base.as2m", AUDIOSET, WEIGHTS, "MIT", LAYOUT, "worstchan/EAT-base_epoch30_pretrain"),
    aves2("eat_base.aves2_all", AVES2_ALL, "esp-aves2-eat-all", settings=AVES2_SCALE),
    aves2("eat_base.aves2_bio", AVES2_BIO, "esp-aves2-eat-bio", settings=AVES2_SCALE),
    aves2("eat_base.aves2_sl_all", AVES2_ALL, "esp-aves2-sl-eat-all-ssl-all", supervised=True, settings=AVES2_SCALE),
    aves2("eat_base.aves2_sl_bio", AVES2_BIO, "esp-aves2-sl-eat-bio-ssl-all", supervised=True, settings=AVES2_SCALE),
    Published("hubert_base.ls960", LIBRISPEECH, PICKLED, "Apache-2.0", LAYOUT),
    Published("hubert_large.ll60k", LIBRI_LIGHT, PICKLED, "Apache-2.0", LAYOUT),
    Published(
        "perch_v2.inat2024_fsd50k", "Xeno-canto, iNaturalist, Tierstimmenarchiv, FSD50K", "perch_v2.onnx", "Apache-2.0",
        UNVERIFIED, "justinchuby/Perch-onnx", supervised=True,
    ),
    Published(
        "sslam_base.as2m", AUDIOSET, WEIGHTS, "MIT", LAYOUT, "ta012/SSLAM_pretrain",
        # As two public projects record it, independently of each other.
        sha256="8ec670adb241c710422ddd894ff1bade142ef0b25cf1ee68577aa45f89432298",
    ),
    Published("wav2vec2_base.ls960", LIBRISPEECH, PICKLED, "Apache-2.0", LAYOUT),
    Published(
        "wav2vec2_base.xcl", XCL, WEIGHTS, NOT_STATED, LAYOUT, "DBD-research-group/Wav2Vec2-Base-BirdSet-XCL",
        supervised=True,
    ),
    Published("wav2vec2_large.lv60", LIBRI_LIGHT, PICKLED, "Apache-2.0", LAYOUT),
)  # fmt: skip


# As the tables of checkpoints.md have it: the review's BirdSet and BEANS means, and BAT's frozen AudioSet.
START_WITH = (
    "For birds begin with convnext_base.xcl (has learnt from labels) or bird_mae_large.xcl (has not); for other animals "
    "with beats_base.nlm; for any sound with bat_base.as2m. To try things without a download: bird_mae_tiny.esc10."
)


def find_published(name: str) -> Published | None:
    """Find the row of that name, or an architecture's first one."""
    return next((row for row in PUBLISHED if name in (row.name, row.architecture)), None)


def find_file(sha256: str) -> Published | None:
    """Find the row whose file has that hash."""
    return next((row for row in PUBLISHED if row.sha256 == sha256), None)
