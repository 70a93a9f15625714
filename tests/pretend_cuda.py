"""A GPU in pretence, on a machine that has none: `PYTHONPATH=.:tests python -m pytest -p pretend_cuda -n 0 -m '' tests/test_device.py`.

All tensors are on the CPU, and some are marked as being on `cuda:0`: what is moved or made there, and what is computed from that.
An operation on marked and unmarked tensors raises what PyTorch raises on a GPU. So code that forgets to move a tensor is found
without one; kernels, graphs, numbers in half precision, streams and speed are not those of a GPU."""
from contextlib import nullcontext
from types import SimpleNamespace

import torch
import torch._dynamo # which looks at the names that are replaced below
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from waits import note

CUDA,CPU = torch.device('cuda:0'),torch.device('cpu')
MIXED = "Expected all tensors to be on the same device, but found at least two devices, cuda:0 and cpu! ({}: {} on the CPU)"
GRAPHS = 'it needs CUDA graphs'
CANNOT = {'graph':GRAPHS, 'dropout_differs':GRAPHS, 'taken_down':GRAPHS, 'modernbert-float32':'it looks at what kernels can do',
    'test_compiled':'it compiles for a GPU', 'fetched_while':'it needs pinned memory'} # tests of `test_device.py`, and why

# --- what a GPU would be waited for

_waiting = {'_local_scalar_dense', 'nonzero', 'masked_select', '_unique2', 'unique_dim', 'unique_consecutive', 'bincount', 'equal'}

def _asks(name, args): # must the device have an answer before this goes on?
    if name in _waiting: return True
    places = args[1] if name in ('index','index_put','index_put_','_unsafe_index','_unsafe_index_put') else []
    return any(isinstance(i, _tensor) and i.dtype in (torch.bool, torch.uint8) for i in places)

# --- which tensors are marked

_marks = {} # address of a storage -> weak reference: while that lives, the address is nobody else's
_tensor = torch.Tensor
_untyped,_device,_to,_numpy,_array = (getattr(_tensor, n) for n in ('untyped_storage','device','to','numpy','__array__'))

def _storage(t): # `None`: a tensor without one, e.g. a sparse one
    if not isinstance(t, _tensor): return t
    try:
        with torch._C.DisableTorchFunctionSubclass(): return _untyped(t)
    except (NotImplementedError, RuntimeError): return None

def mark(t, on=True):
    "Let `t`, a tensor or a storage, be on the pretended device, or on the CPU."
    s = _storage(t)
    if s is None: return t
    if len(_marks)>100_000:
        for k in [k for k,r in _marks.items() if r.expired()]: del _marks[k]
    if on: _marks[s._cdata] = StorageWeakRef(s)
    else: _marks.pop(s._cdata, None)
    return t

def is_marked(t): return getattr(_storage(t), '_cdata', None) in _marks
def is_cuda(device): return device is not None and torch.device(device).type=='cuda'

# --- what PyTorch computes

def _check(name, args, given, generator):
    if name in ('copy_','_to_copy','masked_fill_'): return # the last is what `x[mask] = 0` calls, whose mask may be on the CPU
    if name.startswith(('index_put','_index_put')) or name in ('index','_unsafe_index','_unsafe_index_put'): # by tensors on the CPU, too
        if not is_marked(args[0]) and any(map(is_marked, args[1])):
            raise RuntimeError("indices should be either on cpu or on the same device as the indexed tensor (cpu)")
        given = [t for t in given if not any(t is i for i in args[1])]
    if not any(map(is_marked, given)): return
    if generator is not None: raise RuntimeError("Expected a 'cuda' device type for generator but found 'cpu'")
    odd = [tuple(t.shape) for t in given if not is_marked(t) and (t.dim() or name in ('cat','stack'))] # others take a number on the CPU
    if odd: raise RuntimeError(MIXED.format(name, odd))

def _tensors(given):
    for o in given:
        if isinstance(o, _tensor): yield o
        elif isinstance(o, (list, tuple)): yield from _tensors(o)

class PretendCUDA(TorchDispatchMode):
    "Marks what comes of marked tensors."
    @classmethod
    def _should_skip_dynamo(cls): return False # quicker

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        given,device = [*_tensors(args), *_tensors(kwargs.values())],kwargs.get('device')
        name = func.overloadpacket.__name__
        _check(name, args, given, kwargs.get('generator'))
        if any(map(is_marked, given)) and _asks(name, args): note(name)
        on_cuda = any(map(is_marked, given)) or is_cuda(device) # of a marked tensor PyTorch itself says device=cpu, e.g. in a backward pass
        real = dict(device=CPU if is_cuda(device) else device, pin_memory=False)
        res = func(*args, **kwargs | {k:v for k,v in real.items() if k in kwargs})
        old = {getattr(_storage(t), '_cdata', None) for t in given}
        for t in _tensors([res]):
            if getattr(_storage(t), '_cdata', None) not in old: mark(t, on_cuda)
        return res

# --- what Python asks of tensors

def to(self, *args, copy=False, **kwargs):
    like = args[0] if args and isinstance(args[0], _tensor) else kwargs.get('other')
    device,dtype,is_sent,layout = (like.device, like.dtype, None, None) if like is not None else torch._C._nn._parse_to(*args, **kwargs)
    own = {k:v for k,v in dict(dtype=dtype, memory_format=layout, copy=copy).items() if v}
    if device is not None and device.type not in ('cuda','cpu') or self.is_meta and not is_cuda(device): return _to(self, **own | dict(device=device or self.device))
    res = _to(self, **own) if own else self
    if device is None or is_cuda(device)==is_marked(res): return res
    if not is_sent: note('to')
    if _storage(res)._cdata==_storage(self)._cdata: res = _to(res, dtype=res.dtype, copy=True) # with its attributes, which `clone` leaves
    return mark(res, is_cuda(device))

def made(make): # a function that makes a tensor of values, outside of what a mode sees
    def f(data, *args, device=None, **kwargs):
        if not isinstance(data, _tensor): return to(make(data, *args, **kwargs), device) if device is not None else mark(make(data, *args, **kwargs), False)
        return mark(make(data if device is None else data.to(device), *args, **kwargs), is_marked(data) if device is None else is_cuda(device))
    return f

def refusing(f): # what NumPy calls
    def g(self, *args, force=False, **kwargs):
        if is_marked(self) and not force: raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() to copy the tensor to host memory first.")
        return f(self, *args, **kwargs)
    return g

def pretend_tensors():
    t = _tensor
    t.device,t.is_cuda = property(lambda self: CUDA if is_marked(self) else _device.__get__(self)),property(is_marked)
    t.to,t.type_as,t.pin_memory = to,lambda self, other: to(self, other),lambda self, *args: self
    t.cpu,t.cuda = lambda self, *args, **kwargs: to(self, CPU),lambda self, *args, **kwargs: to(self, CUDA)
    t.numpy,t.__array__,t.new_tensor = refusing(_numpy),refusing(_array),made(t.new_tensor)
    torch.utils._device._device_constructors() # keeps the functions as they are, for `with torch.device('meta')`
    torch.tensor,torch.as_tensor = made(torch.tensor),made(torch.as_tensor)

# --- what stands around

def pretend_autocast():
    autocast,scaler,is_on,dtype_of = torch.autocast.__init__,torch.amp.GradScaler.__init__,torch.is_autocast_enabled,torch.get_autocast_dtype
    def init(self, device_type, dtype=None, *args, **kwargs):
        if is_cuda(device_type): device_type,dtype = 'cpu',dtype or torch.float16
        autocast(self, device_type, dtype, *args, **kwargs)
    torch.autocast.__init__ = init
    torch.amp.GradScaler.__init__ = lambda self, device='cuda', *args, **kwargs: scaler(self, 'cpu', *args, **kwargs)
    torch.is_autocast_enabled,torch.get_autocast_dtype = lambda device='cpu': is_on('cpu'),lambda device='cpu': dtype_of('cpu')

def pretend_saving(): # what is saved tells where it was, and is loaded there
    def tag(storage): return 'cuda:0' if is_marked(storage) else None
    def restore(storage, location): return mark(storage) if location.startswith('cuda') else None
    torch.serialization.register_package(5, tag, restore)
    clone = torch.UntypedStorage.clone
    torch.UntypedStorage.clone = lambda self: mark(clone(self), is_marked(self)) # `copy.deepcopy`

def pretend_groups(): # of gradients to clip: PyTorch asks the tensors in C++ where they are
    from torch.nn.utils import clip_grad
    groups = clip_grad._group_tensors_by_device_and_dtype
    clip_grad._group_tensors_by_device_and_dtype = lambda tensors, *args: {(CUDA if is_marked(o[0][0][0]) else k[0], k[1]):o for k,o in groups(tensors, *args).items()}

class Event:
    def __init__(self, *args, **kwargs): pass
    def query(self): return True
    def record(self, *args): pass
    def __reduce__(self): raise TypeError("cannot pickle 'Event' object")
    synchronize = wait = record

class Device(nullcontext): "`with torch.cuda.device(0)`"

def pretend_module(): # random numbers are those of the CPU
    c,a,get,put = torch.cuda,torch.accelerator,torch.get_rng_state,torch.set_rng_state
    values = dict(is_available=True, is_initialized=True, device_count=1, current_device=0, is_bf16_supported=True, get_device_name='a pretence',
        get_device_capability=(9, 0), current_stream=None, max_memory_allocated=0, memory_allocated=0, is_current_stream_capturing=False)
    nothing = '_lazy_init synchronize empty_cache reset_peak_memory_stats ipc_collect set_device manual_seed manual_seed_all'
    for n,v in (values | dict.fromkeys(nothing.split())).items(): setattr(c, n, lambda *args, v=v, **kwargs: v)
    c.Event,c.device = Event,Device
    c.get_rng_state,c.get_rng_state_all = lambda *args: get(),lambda: [get()]
    c.set_rng_state,c.set_rng_state_all = lambda state, *args: put(state),lambda states: put(states[0])
    a.is_available,a.current_device_index,a.current_accelerator = lambda: True,lambda: 0,lambda *args, **kwargs: torch.device('cuda')
    a.current_stream = lambda *args: SimpleNamespace(is_capturing=lambda: False)

for f in (pretend_tensors, pretend_autocast, pretend_saving, pretend_groups, pretend_module): f()
PretendCUDA().__enter__() # of this thread: what others compute is on the CPU

def pytest_collection_modifyitems(items):
    import pytest

    from blurlike.model import padding_free
    padding_free._by_kernel = padding_free._text_by_text
    for item in items:
        why = next((v for k,v in CANNOT.items() if k in item.name), None)
        if why and item.path.name=='test_device.py': item.add_marker(pytest.mark.skip(reason=f'no pretence: {why}'))
