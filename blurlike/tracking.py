"`from blurlike.tracking import WandbCallback` for those who know it by this name; it needs the package wandb. Written by hand."
from .share.tracking import *
