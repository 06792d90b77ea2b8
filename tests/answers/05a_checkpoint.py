"Wrong answers to the exercises of lesson 05a; see 03_losses.py for the form."

SAVE = '''save_file(tensors, str(part), metadata=dict(format='mylib checkpoint 1', state=text, sha256=_digest(text, tensors)))
        with open(part, 'rb+') as f: os.fsync(f.fileno())
        os.replace(part, file)'''

WRONG = {
    '05a.1': [
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
    '05a.2': [
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
    '05a.3': [
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
