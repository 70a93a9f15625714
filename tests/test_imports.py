"`from blurlike.all import *` is quiet, and leaves what takes seconds to those who use it."
import json,subprocess,sys

HEAVY = ['torch.distributed.tensor','torch._dynamo','torchvision','transformers.modeling_utils','transformers.pipelines','transformers.generation.utils','transformers.models.auto.modeling_auto',
    'transformers.models.auto.configuration_auto','captum','optuna','gradio','onnxruntime','peft','wandb']
LOOK = f'import sys,json\nfrom blurlike.all import *\nprint(json.dumps([m for m in {HEAVY} if m in sys.modules]))'

def test_the_star_import():
    "In a process of its own, with Python's own filters: fastai's deprecated script is a red box in a notebook."
    done = subprocess.run([sys.executable, '-W', 'default::FutureWarning', '-c', LOOK], capture_output=True, text=True)
    assert done.returncode==0, done.stderr
    assert 'FutureWarning' not in done.stderr
    assert json.loads(done.stdout.splitlines()[-1])==[]
