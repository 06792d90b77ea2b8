"Wrong answers to the exercises of lesson 05a; see 03_losses.py for the form."

SAVE = '''save_file(tensors, str(part), metadata=dict(format='mylib checkpoint 1', state=text, sha256=_digest(text, tensors)))
        with open(part, 'rb+') as f: os.fsync(f.fileno())
        os.replace(part, file)'''

WRONG = {
    '05a.1': [
        ("return {'dict': [[_pack(k, tensors), _pack(v, tensors)] for k, v in o.items()]}", 'return {k: _pack(v, tensors) for k, v in o.items()}', 'lists stay lists'),
        ("return {'dict': [[_pack(k, tensors), _pack(v, tensors)] for k, v in o.items()]}", "return {'dict': [[str(k), _pack(v, tensors)] for k, v in o.items()]}", 'keys may be numbers'),
        ("{type(o).__name__ if type(o) in (list, tuple) else 'tuple': [_pack(v, tensors) for v in o]}", "{'list': [_pack(v, tensors) for v in o]}", 'tuples tuples'),
        ('.contiguous().clone()', '', 'copies'),
        ('o.detach().cpu()', 'o.cpu()', 'without a gradient'),
        ("f't{len(tensors)}'", "'t'", 'tensors lie beside'),
        (', \'dtype\': str(o.dtype)}', ", 'dtype': 'float64'}", 'arrays keep their dtype'),
        ("    if isinstance(o, np.generic): o = o.item()\n", '', 'numbers of NumPy'),
        ("    raise TypeError(f'cannot put a {type(o).__name__} into a checkpoint: expected tensors, arrays, numbers, strings, lists, tuples and dicts')", '    return repr(o)', 'a set is refused'),
        ("raise TypeError(f'cannot put a {type(o).__name__} into", "raise TypeError(f'cannot put this into", 'by name'),
        ("{_unpack(k, tensors): _unpack(w, tensors) for k, w in v}", "{str(_unpack(k, tensors)): _unpack(w, tensors) for k, w in v}", 'keys may be numbers'),
    ],
    '05a.2': [
        ("with open(part, 'rb+') as f: os.fsync(f.fileno())\n", 'pass\n', 'the old file stays whole'),
        (SAVE, SAVE.replace('str(part)', 'str(file)').replace('open(part', 'open(file').replace('os.replace(part, file)', 'pass'), 'the old file stays whole'),
        ('    finally: part.unlink(missing_ok=True)', '    except ZeroDivisionError: pass', 'no half one is left'),
        ('file.parent.mkdir(parents=True, exist_ok=True)\n', 'pass\n', 'the folder is made'),
        ('file, tensors = Path(file), {}', 'tensors = {}', 'the path may be a text'),
        ("if meta.get('sha256') != _digest", "if False and meta.get('sha256') != _digest", 'each single changed byte'),
        ("sha256=_digest(text, tensors)", "sha256=_digest(text, {})", 'a tensor and a number come back'),
        ("    if meta.get('format') != 'mylib checkpoint 1': raise CheckpointError(f'{file}: a safetensors file, but no checkpoint of this course')\n    if meta.get('sha256') != _digest(meta.get('state', ''), tensors): raise CheckpointError(f'{file}: checksum mismatch, it was changed after it was written')\n", '', 'each single changed byte'),
        ('except (SafetensorError, OSError, ValueError) as e: raise', 'except ZeroDivisionError as e: raise', 'got       SafetensorError'),
        ("if not Path(file).exists(): raise FileNotFoundError(f'{file}: no such checkpoint')", "if not Path(file).exists(): raise CheckpointError(f'{file}: no such checkpoint')", 'another kind of error'),
        (None, '''def save_state(state, file):
    file = Path(file)
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(file.name + '.tmp')
    try:
        torch.save(state, part)
        with open(part, 'rb+') as f: os.fsync(f.fileno())
        os.replace(part, file)
    finally: part.unlink(missing_ok=True)

def load_state(file):
    try: return torch.load(file, weights_only=False)
    except FileNotFoundError: raise
    except Exception as e: raise CheckpointError(f'{file}: {e}') from e
''', 'a tensor and a number come back'),
        ('json.dumps(_pack(state, tensors))', 'json.dumps({k: v for k, v in state.items() if not isinstance(v, torch.Tensor)})\n    _pack(state, tensors)', 'come back'),
    ],
    '05a.3': [
        ('self._save(learn, learn.epoch + 1, 0)', 'self._save(learn, learn.epoch, learn.iter + 1)', 'a checkpoint with its position'),
        ('if not learn.training or learn.dls.valid is None: self._save', 'if not learn.training: self._save', 'an epoch ends with its training'),
        ('if not learn.training or learn.dls.valid is None: self._save', 'if learn.training: self._save', 'interrupted at the beginning of an epoch'),
        ('        for f in self.files()[:-self.keep]: f.unlink()\n', '', 'only the last few are kept'),
        ('for f in self.files()[:-self.keep]: f.unlink()', 'for f in self.files()[self.keep:]: f.unlink()', 'only the last few are kept'),
        ('{epoch:05d}-{batch:07d}', '{epoch:05d}', 'a checkpoint with its position'),
        ('        set_rng_state(self._state[\'rng\'])\n', '', 'interrupted in the middle of an epoch'),
        ("if self._state['batch']: self._callbacks(learn)\n        set_rng", "set_rng", 'interrupted in the middle of an epoch'),
        ("if self._state['batch']: self._callbacks(learn)\n        set_rng", "self._callbacks(learn)\n        set_rng", 'interrupted at the beginning of an epoch'),
        ("            if not self._state['batch']: self._callbacks(learn)\n", "", 'interrupted at the beginning of an epoch'),
        ('        self._state = None\n\n', '\n', 'interrupted in the middle of an epoch'),
        ('for f in reversed(self.files()):', 'for f in self.files():', 'interrupted in the middle of an epoch'),
        ("except CheckpointError as e: warnings.warn(f'{e}; trying the one before', stacklevel=2)", 'except CheckpointError: pass', 'is reported'),
        ('reversed(self.files())', 'self.files()[-1:]', 'the one before is taken'),
        ('if self.files() and not self.resume:', 'if False:', 'are not overwritten'),
        ("order, writes, fit_only = 90, ('checkpoint',), True", "order, writes = 90, ('checkpoint',)", 'validate writes nothing'),
        ('if learn.start[0] >= learn.n_epoch: self._state = None', 'if learn.start[0] >= learn.n_epoch: learn.start, self._state = (0, 0), None', 'trains nothing'),
        ('learn.iter + 1 - self._at < self.every', 'learn.iter - self._at < self.every', 'a checkpoint with its position'),
        ("_whole('keep', keep, 1)", 'keep', 'to keep nothing is refused'),
    ],
    '05a.4': [
        ('v.detach().clone()', 'v.detach()', 'the best lies in the middle'),
        ('score > self.best', 'score >= self.best', 'an equal score'),
        ('1 if mode == \'max\' else -1', '1', "mode='min'"),
        ('(self.min_delta if self.best_epoch is not None else 0)', '0', 'by more than min_delta'),
        ('        else: self.waited += 1\n', '', 'the best lies in the middle'),
        ('self.best, self.best_epoch, self.waited = score, learn.epoch, 0', 'self.best, self.best_epoch = score, learn.epoch', 'by more than min_delta'),
        ('def cleanup_fit', 'def after_fit', 'after an interrupt'),
        ('        self.best_weights = None\n\n', '\n', 'no weights are kept after it'),
        ('if self.restore: self.best_weights = {', 'if True: self.best_weights = {', 'where none are to be put back'),
        ("'loss' in monitor or 'error' in monitor or 'perplexity' in monitor", "'loss' in monitor", 'errors and perplexities'),
        ('if learn.training and learn.dls.valid is not None: return', 'if learn.training: return', 'without a validation set'),
        ('        if learn.training and learn.dls.valid is not None: return\n', '', 'each epoch is a new best'),
        ("waited=self.waited)", "waited=0)", 'hand everything on'),
        ("    if monitor not in row: raise ValueError(f'monitor={monitor!r} is not recorded; recorded are {\", \".join(k for k in row if k not in (\"epoch\", \"time\"))}')\n", '', 'that is not recorded'),
        ("        if mode not in ('min', 'max'): raise ValueError(f\"mode must be 'min' or 'max', not {mode!r}\")\n", '', 'an unknown mode'),
        ("        if min_delta < 0: raise ValueError(f'min_delta must not be negative, not {min_delta}')\n", '', 'a negative min_delta'),
        ('def before_fit(self, learn): self.best, self.best_epoch, self.best_weights, self.waited = -math.inf, None, None, 0', "def before_fit(self, learn):\n        if not hasattr(self, 'best'): self.best, self.best_epoch, self.best_weights, self.waited = -math.inf, None, None, 0", 'a second fit'),
    ],
    '05a.5': [
        ('if self.file and self.waited == 0: learn', 'if self.file: learn', 'at each new best'),
        ('if self.file and self.waited == 0: learn', 'if self.waited == 0: learn', 'are put back'),
        ('if self.file and self.waited == 0: learn', 'if self.file and self.best_epoch == 0: learn', 'at each new best'),
        ('self._setup(monitor, mode, min_delta)', "self._setup(monitor, 'max', min_delta)", 'is to be small'),
        ('self._setup(monitor, mode, min_delta)', 'self._setup(monitor, None, min_delta)', 'the mode is passed on'),
        ('self._setup(monitor, mode, min_delta)', 'self._setup(monitor, mode, 0.)', 'min_delta is passed on'),
        ('restore = True', 'restore = False', 'are put back'),
        ("monitor:str='valid_loss'", "monitor:str='accuracy'", 'valid_loss is watched'),
    ],
    '05a.6': [
        ('self.waited >= self.patience', 'self.waited > self.patience', 'after patience epochs'),
        ('self.waited >= self.patience', 'self.waited >= 1', 'after patience epochs'),
        ('raise CancelFitException', 'learn.n_epoch = learn.epoch', 'after patience epochs'),
        ('self._setup(monitor, mode, min_delta)', 'self._setup(monitor, mode, 0.)', 'smaller than min_delta'),
        ('self._setup(monitor, mode, min_delta)', 'self._setup(monitor, None, min_delta)', "looks for the smallest"),
        ('_whole(\'patience\', patience, 1), restore', '_whole(\'patience\', patience, 1), False', 'weights of the best epoch'),
        ("_whole('patience', patience, 1)", 'patience', 'a patience of 0 is refused'),
        ('self.waited >= self.patience', 'learn.epoch - (self.best_epoch or 0) > self.patience', 'after patience epochs'),
        ("    def _judge(self, learn):\n        if self.waited >= self.patience: raise CancelFitException", '''    def after_epoch(self, learn):
        if learn.training: return
        score = self.sign*_watched(learn, self.monitor)
        self.waited = 0 if score > getattr(self, 'last', -math.inf) + self.min_delta else self.waited + 1
        self.last = score
        if self.waited >= self.patience: raise CancelFitException''', 'not with the epoch before'),
    ],
}
