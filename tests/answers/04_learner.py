"Wrong answers to the exercises of lesson 04; see 03_losses.py for the form."

WRONG = {
    '04.1': [
        ("if near or name.startswith(('before_', 'after_', 'cleanup_')):", 'if near:', 'looks like an event and is none'),
        ("if near or name.startswith(('before_', 'after_', 'cleanup_')):", "if name.startswith(('before_', 'after_', 'cleanup_')):", 'a misspelt event is refused'),
        ("name.startswith('_') or ", '', 'private names and plain values are left alone'),
        (' or not callable(f)', '', 'private names and plain values are left alone'),
        ('super().__init_subclass__(**kwargs)', 'pass', 'other parents'),
        ('raise TypeError(', 'print(', 'bad input is accepted'),
        (' or name in EVENTS', '', 'got       TypeError'),
    ],
    '04.2': [
        ('for v, n in zip(vals, self._sizes): self.total += v*n\n        self.n += sum(self._sizes)', 'self.total += sum(vals)\n        self.n += len(vals)', 'a batch counts by the number of its targets'),
        ('self.total += v*n', 'self.total += v', '0.5 times what it should be'),
        ('_count(targets)', 'len(targets)', 'also where batches differ in width'),
        ('value.detach() if', 'value if', 'keeps no graph'),
        ('if len(self._values) >= self.fold_every: self.fold()', 'self.fold()', 'no number is asked of the device'),
        ('self._values, self._sizes = [], []\n        return vals', 'return vals', 'counts nothing twice'),
        ('self.total/self.n if self.n else math.nan', 'self.total/self.n', 'nan before the first batch'),
        ('self._values, self._sizes, self.total, self.n = [], [], 0., 0', 'self._values, self._sizes = [], []\n        if not hasattr(self, "n"): self.total, self.n = 0., 0', 'reset forgets'),
        ('if value.ndim: raise', 'if False: raise', 'refused'),
        ('self.fold()\n        return self.total', 'return self.total', 'one batch'),
    ],
    '04.3': [
        ('if cleanup: stack.callback(cleanup, self)\n                if before: before(self)', 'if before: before(self)\n                if cleanup: stack.callback(cleanup, self)', 'a clean-up runs if its before has begun'),
        ('except cancel: pass', 'except Exception: pass', 'other errors come out'),
        ('except cancel: pass', 'except (CancelFitException, CancelEpochException, CancelBatchException): pass', 'only the given kind'),
        ('except cancel: pass', 'except cancel: raise', 'goes on as if nothing had happened'),
        (None, '''@patch
def _phase(self:Learner, name, body, cancel):
    try:
        for before, _ in self._on[name]:
            if before: before(self)
        body()
        for f in self._on['after_' + name]: f(self)
    except cancel: pass
    finally:
        for _, cleanup in self._on[name]:
            if cleanup: cleanup(self)
''', 'last to first'),
        (None, '''@patch
def _phase(self:Learner, name, body, cancel):
    begun = []
    try:
        for before, cleanup in self._on[name]:
            begun.append(cleanup)
            if before: before(self)
        body()
        for f in self._on['after_' + name]: f(self)
    except cancel: pass
    finally:
        for cleanup in reversed(begun):
            if cleanup: cleanup(self)
''', 'does not keep the others from running'),
        (None, '''@patch
def _phase(self:Learner, name, body, cancel):
    with ExitStack() as stack:
        try:
            for before, cleanup in self._on[name]:
                if cleanup: stack.callback(cleanup, self)
                if before: before(self)
            body()
        except cancel: pass
        for f in self._on['after_' + name]: f(self)
''', 'skips what comes after'),
    ],
    '04.4': [
        ('        self.opt.zero_grad()\n', '', 'their losses and the weights after them'),
        ("for f in on['after_step']: f(self)\n        self.opt.zero_grad()", "self.opt.zero_grad()\n        for f in on['after_step']: f(self)", 'the order of the events'),
        ('if not self.training: return\n', '\n', 'element 0 of tensors does not require grad'),
        ('self.model(*self.batch[:-1])', 'self.model(self.batch[0])', 'all elements of the batch but the last'),
        ("self.preds = self.model(*self.batch[:-1])\n        for f in on['after_predict']: f(self)", "self.preds, batch = self.model(*self.batch[:-1]), self.batch\n        for f in on['after_predict']: f(self)\n        self.batch = batch", 'what a callback writes'),
        ('if self.iter == 0: self._check_targets()', 'pass', 'would broadcast'),
        ('if self.loss.ndim: raise', 'if False: raise', 'a message without'),
        ('_explain(e, self, stage)\n', 'pass\n', 'a message without'),
        ("stage = 'backward'\n", 'pass\n', "without 'In backward'"),
        ('self.opt.step()', 'with torch.no_grad():\n            for p in self.model.parameters(): p.add_(p.grad, alpha=self.lr)', 'weights after them'),
    ],
}
