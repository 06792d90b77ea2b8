"Wrong answers to the exercises of lesson 17a; see 03_losses.py for the form."

WRONG = {
    '17a.1': [
        ('    def before_epoch(self, learn): learn.model.reset()\n', '    def before_batch(self, learn): learn.model.reset()\n', 'the end of each pass'),
        ('    def cleanup_epoch(self, learn): learn.model.reset()\n', '', 'the end of each pass'),
        ('    def cleanup_epoch(self, learn): learn.model.reset()\n', '    def cleanup_epoch(self, learn): pass\n', 'the end of each pass'),
        ('    def cleanup_epoch(self, learn): learn.model.reset()\n', '    def cleanup_epoch(self, learn): pass\n    def after_epoch(self, learn): learn.model.reset()\n', 'after an error'),
        ("    def before_epoch(self, learn): learn.model.reset()\n", "    def before_epoch(self, learn):\n        if learn.training: learn.model.reset()\n", 'also around a validation'),
        ("dict(state=getattr(self._model, 'state', None))", 'dict(state=self._model.state)', 'no attribute state'),
        ("if s['state'] is not None: self._model.state =", "if s['state'] is None: self._model.state =", "keeps the model's state"),
        ("if s['state'] is not None: self._model.state = to_device(s['state'], next(self._model.parameters()).device)", "pass", "keeps the model's state"),
        ("if not callable(getattr(learn.model, 'reset', None)):", 'if False:', 'no error'),
    ],
    '17a.2': [
        ('x.new_ones(len(x), 1, x.shape[2])', 'x.new_ones(x.shape)', 'one mask for all steps'),
        ('x.new_ones(len(x), 1, x.shape[2])', 'x.new_ones(1, 1, x.shape[2])', 'rows differ'),
        ('x.new_ones(len(x), 1, x.shape[2])', 'x.new_ones(len(x), 1, 1)', 'features differ'),
        ('x.new_ones(len(x), 1, x.shape[2])', 'torch.ones(len(x), 1, x.shape[2])', 'the type of x is kept'),
        ('return x*F.dropout(x.new_ones(len(x), 1, x.shape[2]), self.p)', 'return x*x.new_empty(len(x), 1, x.shape[2]).bernoulli_(1 - self.p)/(1 - self.p)', 'nan in'),
        ('return x*F.dropout(x.new_ones(len(x), 1, x.shape[2]), self.p)', 'return x*x.new_empty(len(x), 1, x.shape[2]).bernoulli_(1 - self.p)', 'what is kept is divided by 1 - p'),
        ('F.dropout(x.new_ones(len(x), 1, x.shape[2]), self.p)', 'F.dropout(x.new_ones(len(x), 1, x.shape[2]), 1 - self.p)', 'with p of 1 everything is zero'),
        ('if not self.training or not self.p: return x', 'if not self.p: return x', 'in eval mode, x comes through'),
        ('if not self.training or not self.p: return x', 'if not self.training or not self.p: return x.clone()', 'and no copy'),
        ("_share('p', p)", 'p', 'a share above 1 is refused'),
        ("        if not self.training or not self.p: return x\n        return x*F.dropout(x.new_ones(len(x), 1, x.shape[2]), self.p)",
         "        if not self.training: return x\n        if not hasattr(self, 'mask'): self.mask = F.dropout(x.new_ones(len(x), 1, x.shape[2]), self.p)\n        return x*self.mask", 'a new mask in each call'),
        ("f'p={self.p}'", "''", 'kept and shown'),
    ],
    '17a.3': [
        (None, '''class EmbeddingDropout(nn.Module):
    def __init__(self, emb, embed_p=0.1):
        super().__init__()
        self.emb, self.embed_p = emb, _share('embed_p', embed_p)
    def forward(self, ids):
        if not self.training or not self.embed_p: return self.emb(ids)
        return F.embedding(ids, self.emb.weight*F.dropout(self.emb.weight.new_ones(self.emb.num_embeddings, 1), self.embed_p))
    def extra_repr(self): return f'embed_p={self.embed_p}'
''', 'only the words that occur'),
        ('x*F.dropout(x.new_ones(self.emb.num_embeddings, 1), self.embed_p)[ids]', 'F.dropout(x, self.embed_p)', 'words are dropped whole'),
        ('x*F.dropout(x.new_ones(self.emb.num_embeddings, 1), self.embed_p)[ids]', 'x*F.dropout(x.new_ones(*ids.shape, 1), self.embed_p)', 'wherever it occurs'),
        ('x*F.dropout(x.new_ones(self.emb.num_embeddings, 1), self.embed_p)[ids]', 'x*(torch.rand(self.emb.num_embeddings, 1) >= self.embed_p)[ids]', 'divided by 1 - p'),
        ('not self.training or ', '', 'in eval mode, it is the table'),
        ('x = self.emb(ids)', 'x = self.emb(ids).detach()', 'got       RuntimeError'),
        ('x = self.emb(ids)\n        if', 'if self.training: self.emb.weight.data *= F.dropout(torch.ones(self.emb.num_embeddings, 1), self.embed_p)\n        x = self.emb(ids)\n        if', 'a word is zero or divided by 1 - p'),
        ("_share('embed_p', embed_p)", 'embed_p', 'a negative share is refused'),
        ('self.emb.num_embeddings, 1', 'self.emb.num_embeddings, x.shape[-1]', 'words are dropped whole'),
    ],
    '17a.4': [
        ('not self.training or ', '', 'in eval mode'),
        ('return self.module(x, state, {', 'return self.module(x, None, {', 'with a share of 1'),
        ("if k.startswith('weight_hh')", "if k == 'weight_hh_l0'", 'of all layers and directions'),
        ("if k.startswith('weight_hh')", "if k.startswith('weight')", 'with a share of 1'),
        ('{k: F.dropout(getattr(self.module, k), self.weight_p) for k in self.layer_names}', '{k: F.dropout(getattr(self.module, k).detach(), self.weight_p) for k in self.layer_names}', 'arrives at the parameter'),
        ('return self.module(x, state, {k: F.dropout(getattr(self.module, k), self.weight_p) for k in self.layer_names})',
         'for k in self.layer_names: getattr(self.module, k).data = F.dropout(getattr(self.module, k), self.weight_p).data\n        return self.module(x, state)', 'keep their names and values'),
        ('F.dropout(getattr(self.module, k), self.weight_p)', 'F.dropout(getattr(self.module, k), self.weight_p)*(1 - self.weight_p)', 'divided by 1 - p'),
        ('[layer_names] if isinstance(layer_names, str) else list(layer_names)', 'list(layer_names)', 'one name or several'),
        ('if {*names} - {*have}:', 'if False:', 'refused'),
        ('if not isinstance(module, _Recurrent):', 'if False:', "a layer of PyTorch's is refused"),
        ("_share('weight_p', weight_p)", 'weight_p', 'a share above 1 is refused'),
        ('self.module(x, state)\n', 'self.module(x)\n', 'state included'),
    ],
    '17a.5': [
        ('emb.weight.uniform_(-0.1, 0.1)', 'pass', 'within plus or minus 0.1'),
        ('            if pad_idx is not None: emb.weight[pad_idx] = 0\n', '', 'its padding as zero'),
        (', padding_idx=pad_idx)', ')', 'the padding gets no gradient'),
        ('sizes = [emb_size] + [n_hid]*(n_layers - 1) + [emb_size]', 'sizes = [emb_size] + [n_hid]*n_layers', 'the names and sizes'),
        ('RNNDropout(input_p), RNNDropout(hidden_p), bidir', 'RNNDropout(hidden_p), RNNDropout(input_p), bidir', 'input_p drops features'),
        ('rnn(self.hidden_dp(x) if k else x, ', 'rnn(self.hidden_dp(x), ', 'does not touch the input'),
        ('            new.append(s)\n', '            new.append(s)\n            x = self.hidden_dp(x)\n', 'hidden_p drops between the layers'),
        ('apply_nested(torch.Tensor.detach, new)', 'new', 'ends at its beginning'),
        ('if not self.bidir: self.state', 'self.state', 'with bidir no state is kept'),
        ('        if not self.bidir: self.state = apply_nested(torch.Tensor.detach, new)\n', '', 'two batches say the same'),
        ('self.state and self.state[k]', 'self.state and self.state[0]', 'two batches say the same'),
        ('x, new = self.input_dp(self.encoder(ids)), []', 'x, new = self.encoder(ids), []', 'input_p drops'),
        ('EmbeddingDropout(emb, embed_p)', 'EmbeddingDropout(emb, 0.)', 'embed_p drops words'),
        ('bidirectional=bidir), weight_p)', 'bidirectional=bidir), 0.)', 'weight_p drops the weights'),
        ('b//(1 + bidir)', 'b', 'bidir reads in both directions'),
        ('if self.state is not None and self.state[0][0].shape[1] != len(ids):', 'if False:', 'refused'),
        ('if self.state is not None and self.state[0][0].shape[1] != len(ids):', 'if self.state is not None and self.state[0][0].shape[1] != len(ids): self.reset()\n        if False:', 'refused, with what to do'),
        ('if bidir and (emb_size', 'if False and (emb_size', 'with bidir, an odd emb_size is refused'),
        ('(n_hid % 2 and n_layers > 1)', 'n_hid % 2', 'not used'),
        ("_whole('n_layers', n_layers, 1)", 'None', 'no layers are refused'),
    ],
    '17a.6': [
        ('return total/len(x)', 'return total', 'the mean over the rows'),
        ('d*(g/ctx.n).to(d.dtype)', 'd*g.to(d.dtype)', 'throughout'),
        ('d*(g/ctx.n).to(d.dtype)', 'd/ctx.n', 'the gradient'),
        ('(top - p.amax(1).log()).sum() - at_target.sum()', '-p.gather(1, yi).log().sum()', 'rounds to zero'),
        ('            p.scatter_add_(1, yi, p.new_full(yi.shape, -1.))\n', '', 'the gradients of x and weight'),
        ('            if b is not None: db += p.new_ones(len(p)) @ p\n', '', 'the gradients of x, weight and bias'),
        ('torch.addmm(b, xi, w.T, out=z)', 'torch.mm(xi, w.T, out=z)', 'with a bias'),
        ('dw.addmm_(z.T, xi)', 'dw.copy_(z.T @ xi)', 'any size of the chunks'),
        ('rows = min(len(x), max(1, _CHUNK.get(x.device.type, 2**25)//len(w)))', 'rows = len(x)', 'never there at once'),
        ('max(1, _CHUNK.get(x.device.type, 2**25)//len(w))', '_CHUNK.get(x.device.type, 2**25)//len(w)', 'got       RuntimeError'),
        ('torch.promote_types(x.dtype, torch.float32)', 'x.dtype', 'dtype bfloat16 instead of float32'),
        (None, '''_CHUNK = {'cpu': 2**23}

class _LinearCrossEntropy:
    @staticmethod
    def apply(x, weight, bias, targets):
        rows, total = max(1, _CHUNK['cpu']//len(weight)), 0
        for xi, yi in zip(x.split(rows), targets.split(rows)):
            total = total + F.cross_entropy(F.linear(xi.to(weight.dtype), weight, bias), yi, reduction='sum')
        return total/len(x)
''', 'no probabilities are kept'),
    ],
    '17a.7': [
        ('if tie: self.decoder.weight = emb.weight', 'if tie: self.decoder.weight.data.copy_(emb.weight.data)', 'one matrix'),
        ('if tie: self.decoder.weight = emb.weight', 'self.decoder.weight = emb.weight', 'a weight of its own'),
        ('        if tie: self.decoder.weight = emb.weight', '        if tie: emb.weight = self.decoder.weight', 'in evaluation the scores'),
        ('        nn.init.uniform_(self.decoder.weight, -0.1, 0.1)\n', '', 'a weight of its own'),
        ('        if bias: nn.init.zeros_(self.decoder.bias)\n', '', 'the bias is zero'),
        ('LMOutput(self.output_dp(raw), raw, self', 'LMOutput(raw, self.output_dp(raw), self', 'the raw vectors are kept'),
        ('LMOutput(self.output_dp(raw), raw, self', 'LMOutput(*[self.output_dp(raw)]*2, self', 'the raw vectors are kept'),
        ('return out if self.training else out.logits()', 'return out.logits()', 'an LMOutput'),
        ('return out if self.training else out.logits()', 'return out', 'the scores (n,t,c)'),
        ('RNNDropout(output_p)', 'nn.Dropout(output_p)', 'one mask over time'),
        ('return F.linear(self.dropped, self.weight, self.bias)', 'return F.linear(self.dropped, self.weight)', 'in evaluation the scores'),
        ('self.encoder.state = s', 'self._state = s', 'given and forgotten'),
        ('        self.encoder.reset()\n', '        pass\n', 'plus the bias'),
        ('    if isinstance(preds, LMOutput): return linear_cross_entropy(preds.dropped.flatten(0, 1), preds.weight, targets.flatten(), preds.bias)\n', '    if isinstance(preds, LMOutput): preds = preds.logits()\n', 'never held'),
        ('preds.weight, targets.flatten(), preds.bias)', 'preds.weight, targets.flatten())', 'the same in both modes'),
        ('linear_cross_entropy(preds.dropped', 'linear_cross_entropy(preds.dropped.detach()', 'the gradients reach'),
        ('cross_entropy(preds.flatten(0, 1), targets.flatten())', 'cross_entropy(preds.transpose(1, 2).flatten(0, 1), targets.flatten())', 'the mean over all words'),
    ],
    '17a.8': [
        ('out.dropped.float()', 'out.raw.float()', 'after dropout'),
        ('out.raw.float().diff(dim=1)', 'out.dropped.float().diff(dim=1)', 'before dropout'),
        ('diff(dim=1)', 'diff(dim=0)', 'TAR'),
        ('diff(dim=1)', 'diff(dim=2)', 'TAR'),
        ('self.alpha*out.dropped.float().square().mean()', 'self.alpha*out.dropped.float().square().sum()', 'AR: alpha times'),
        (' and out.raw.shape[1] > 1', '', 'a batch of one column'),
        ('        if not learn.training: return\n', '', 'validation is left alone'),
        ('learn.loss = learn.loss + self.alpha*', 'learn.loss += self.alpha*', 'the loss of before stays'),
        ('.dropped.float()', '.dropped', 'infinite'),
        ('not isinstance(v, (int, float)) or not 0 <= v', 'not isinstance(v, (int, float)) or not 0 < v', 'got       ValueError'),
        ("        if not isinstance(out, LMOutput): raise TypeError(f'RNNRegularizerCB needs the LMOutput of a LanguageModel, and this model returned a {type(out).__name__}')\n", '', 'another kind of error'),
        ("not isinstance(v, (int, float)) or not 0 <= v < float('inf')", 'v < 0', 'refused'),
    ],
}
