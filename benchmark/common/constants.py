"""Define constants of papers and protocols with unit and source. Tunable values are in the recipes (methods/*.yaml)."""

CONTEXT_LENGTH = 77  # tokens, start and end included; openai/CLIP clip.tokenize
START_TOKEN, END_TOKEN = "<|startoftext|>", "<|endoftext|>"  # openai/CLIP simple_tokenizer.py
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)  # RGB in 0..1; openai/CLIP clip.py
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)  # RGB in 0..1; openai/CLIP clip.py

SHOTS = (1, 2, 4, 8, 16)  # images per class; CoOp, arXiv 2109.01134
VALIDATION_SHOTS = 4  # images per class at most in the sampled validation list; CoOp datasets/*.py at ff61507
CONTEXT_STD = 0.02  # of a random context vector; CoOp trainers/coop.py at ff61507

LEARNING_RATE = 0.002  # SGD; CoOp configs/trainers at ff61507
MOMENTUM = 0.9  # Dassl defaults.py at c61a1b5
WEIGHT_DECAY = 5e-4  # on the learned parameters; Dassl defaults.py at c61a1b5
WARMUP_EPOCHS = 1  # CoOp configs/trainers at ff61507
WARMUP_LEARNING_RATE = 1e-5  # constant over the warm-up; CoOp configs/trainers at ff61507
ADAM_EPSILON = 1e-8  # of Adam and AdamW; torch.optim.Adam

MISSING = ("none", "null", "nil", "nan", "na", "n/a", "#n/a", "undefined")  # what programs write for a missing value
PRECISIONS = ("fp32", "fp64", "tf32", "bf16", "fp16")  # values of --precision

CROP_SCALE = (0.08, 1.0)  # share of the area of a random resized crop; Dassl defaults.py at c61a1b5
CROP_RATIO = (3 / 4, 4 / 3)  # its width over height, sampled log-uniformly; torchvision RandomResizedCrop
FLIP_PROBABILITY = 0.5  # torchvision RandomHorizontalFlip

CHECKPOINT_MINUTES = 5.0  # between two checkpoints of a training, by default; ours

# The seven templates that CLIP's authors selected for ImageNet; CoOp trainers/imagenet_templates.py at ff61507
IMAGENET_TEMPLATES = (
    "itap of a {}.",
    "a bad photo of the {}.",
    "a origami {}.",
    "a photo of the large {}.",
    "a {} in a video game.",
    "art of the {}.",
    "a photo of the small {}.",
)

# The templates whose features PromptSRC averages, 60 of CLIP's 80; PromptSRC trainers/imagenet_templates.py at bb95c77
PROMPTSRC_TEMPLATES = (
    "a photo of a {}.",
    "a bad photo of a {}.",
    "a photo of many {}.",
    "a sculpture of a {}.",
    "a photo of the hard to see {}.",
    "a low resolution photo of the {}.",
    "a rendering of a {}.",
    "graffiti of a {}.",
    "a bad photo of the {}.",
    "a cropped photo of the {}.",
    "a tattoo of a {}.",
    "the embroidered {}.",
    "a photo of a hard to see {}.",
    "a bright photo of a {}.",
    "a photo of a clean {}.",
    "a photo of a dirty {}.",
    "a dark photo of the {}.",
    "a drawing of a {}.",
    "a photo of my {}.",
    "the plastic {}.",
    "a photo of the cool {}.",
    "a close-up photo of a {}.",
    "a black and white photo of the {}.",
    "a painting of the {}.",
    "a painting of a {}.",
    "a pixelated photo of the {}.",
    "a sculpture of the {}.",
    "a bright photo of the {}.",
    "a cropped photo of a {}.",
    "a plastic {}.",
    "a photo of the dirty {}.",
    "a jpeg corrupted photo of a {}.",
    "a blurry photo of the {}.",
    "a photo of the {}.",
    "a good photo of the {}.",
    "a rendering of the {}.",
    "a {} in a video game.",
    "a photo of one {}.",
    "a doodle of a {}.",
    "a close-up photo of the {}.",
    "the origami {}.",
    "the {} in a video game.",
    "a sketch of a {}.",
    "a doodle of the {}.",
    "a origami {}.",
    "a low resolution photo of a {}.",
    "the toy {}.",
    "a rendition of the {}.",
    "a photo of the clean {}.",
    "a photo of a large {}.",
    "a rendition of a {}.",
    "a photo of a nice {}.",
    "a photo of a weird {}.",
    "a blurry photo of a {}.",
    "a cartoon {}.",
    "art of a {}.",
    "a sketch of the {}.",
    "a embroidered {}.",
    "a pixelated photo of a {}.",
    "itap of the {}.",
)
