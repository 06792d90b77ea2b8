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
        ("learn.opt.param_groups[-1]['lr'])\n        if self._active", "learn.opt.param_groups[0]['lr'])\n        if self._active", 'the rate of the last one'),
        ("if learn.training: self.lrs.append", "self.lrs.append", 'the learning rate of each training batch'),
        ('        if learn.training: self.losses += vals\n', '        self.losses += vals\n', 'the loss of each training batch'),
        ('self._loss.add(learn.loss, _count(targets))', 'self._loss.add(learn.loss, 1)', 'weighted by the number of targets'),
        ('        for m in [self._loss, *self._metrics]: m.reset()\n', '', 'weighted by the number of targets'),
        ("m.name if kind == 'valid' else f'train_{m.name}'", 'm.name', 'metrics of the training batches'),
        ('self._metrics if self.train_metrics or not learn.training else []', 'self._metrics', 'a row for each epoch'),
        ("        self.rows[-1]['time'] = self.rows[-1].pop('time')  # the last column\n", '', 'the last column'),
        ('        if learn.training: self.losses += self._loss.fold()\n', '', 'cut short'),
        ('if any(map(math.isnan, vals)):', 'if False:', 'bad input is accepted'),
        ("self.losses, self.lrs, self.rows, self.sched, self._loss = [], [], [], {}, Metric(name='loss')", "self._loss = Metric(name='loss')", 'a second fit'),
    ],
    '04.4': [
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
    '04.5': [
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
    '04.6': [
        ("self._nonempty('valid') if dl is None else dl, False", "self._nonempty('valid'), False", 'another loader'),
        ("k not in ('epoch', 'time')", "k != 'time'", 'loss and metrics'),
        ("self._nonempty('valid') if dl is None else dl, False", "self.dls.valid if dl is None else dl, False", 'an empty validation set'),
        ('[cb for cb in self.cbs if not cb.fit_only]', '[]', 'take no part'),
    ],
    '04.7': [
        ('        raise CancelBatchException\n', '', 'the loss is not computed'),
        ('order = 100', 'order = -100', 'what callbacks made'),
        ('(act or _activation(self.loss_func))(torch.cat(got.preds))', 'torch.cat(got.preds)', 'probabilities and targets'),
        ('(act or _activation(self.loss_func))', '(act or softmax)', 'without an activation'),
        ('(act or _activation(self.loss_func))', '_activation(self.loss_func)', 'act is applied'),
        ("to_cpu(learn.preds)", 'learn.preds', 'half precision'),
        ("[(self._nonempty('valid') if dl is None else dl, False)]", "[(self._nonempty('valid'), False)]", 'another loader'),
        ('(vocab[i] if vocab else i)', 'i', 'the label is a name'),
        ('int(probs.argmax())', 'probs.argmax()', 'predict: label, number'),
        ('(got.preds[0])[0]', '(got.preds[0])', 'predict: label, number'),
        ('self.preds.append(to_cpu(learn.preds))', 'self.preds.insert(0, to_cpu(learn.preds))', 'in its order'),
    ],
}
