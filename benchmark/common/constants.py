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
