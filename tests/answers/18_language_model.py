"Wrong answers to the exercises of lesson 18; see 03_losses.py for the form."

WRONG = {
    '18.1': [
        ('return tokens[:head] + tokens[head:][::-1]', 'return tokens[::-1]', 'stays there'),
        ('head = tokens[:1] == [BOS]', 'head = 1', 'from the last to the first'),
        ('head = tokens[:1] == [BOS]', 'head = tokens[0] == BOS', 'IndexError'),
        ('return tokens[:head] + tokens[head:][::-1]', 'return [BOS]*(BOS in tokens) + [t for t in tokens[::-1] if t != BOS]', 'goes along'),
        ('    tokens = list(tokens)\n', '', 'a list, whatever came'),
        ('tokens = list(tokens)\n    head = tokens[:1] == [BOS]\n    return tokens[:head] + tokens[head:][::-1]', 'head = tokens[:1] == [BOS]\n    tokens[head:] = tokens[head:][::-1]\n    return tokens', 'tokens, afterwards'),
    ],
    '18.2': [
        ('torch.tensor(super().value, dtype=torch.float64).exp().item()', '__import__("math").exp(super().value)', 'OverflowError'),
        ('return torch.tensor(super().value, dtype=torch.float64).exp().item()', 'return super().value', 'have a perplexity of 4'),
        (None, '''class Perplexity(Metric):
    def __init__(self): super().__init__(lambda p, t: lm_loss(p, t).exp(), 'perplexity')
''', 'the mean is over words'),
        (None, '''class Perplexity(Metric):
    def __init__(self): super().__init__(lm_loss, 'perplexity')
    def add(self, value, n): super().add(value, 1)
    @property
    def value(self): return torch.tensor(super().value, dtype=torch.float64).exp().item()
''', 'the mean is over words'),
        ("lm_loss, 'perplexity'", "lambda p, t: cross_entropy(p.flatten(0, 1), t.flatten()), 'perplexity'", 'the LMOutput'),
        ("lm_loss, 'perplexity'", 'lm_loss', 'the name perplexity'),
        ('.exp().item()', '.exp()', 'Tensor where'),
    ],
    '18.3': [
        ('for nll, raw, y in _read(learn, dl)], 1)', 'for nll, raw, y in _read(learn, dl)])', 'side by side'),
        ('    if cache is not None: cache.reset()\n', '', 'a cache is reset'),
        ('cache.losses(nll, raw, y)', 'nll', 'has its say'),
        ('cache.losses(nll, raw, y)', 'cache.losses(nll, y, raw)', 'has its say'),
        ('token_losses(learn, dl, cache).double()', 'token_losses(learn, dl).double()', 'the perplexity takes it'),
        ('.double().mean().exp().item()', '.double().exp().mean().item()', 'the mean over all words'),
        ('.double().mean().exp().item()', '.double().mean(1).exp().mean().item()', 'the mean over all words'),
        ('.double().mean().exp().item()', '.double().mean().exp()', 'the exp of the mean'),
        ('token_losses(learn, dl, cache).double().mean().exp().item()', 'torch.stack([nll.mean() for nll, _, _ in _read(learn, dl)]).double().mean().exp().item()', 'the mean over all words'),
        ('_read(learn, dl)', '_read(learn, None)', "has no attribute 'dls'"),
    ],
    '18.4': [
        (None, '''def sampling_probs(logits, temperature=1., top_k=None, top_p=None):
    logits = logits.detach().cpu().double()
    probs = (logits/temperature).softmax(-1)
    if top_k is not None: probs[probs < probs.topk(top_k).values[-1]] = 0
    if top_p is not None:
        p, order = probs.sort(descending=True)
        probs[order[p.cumsum(0) > top_p]] = 0
    return probs/probs.sum()
''', 'temperature 0'),
        ("probs[..., top_k:] = 0", "probs[probs < probs[..., top_k - 1:top_k]] = 0", 'top_k keeps k words'),
        ('.double()\n', '\n', 'dtype float32 instead of float64'),
        ('.double()\n', '.float()\n', 'dtype float32 instead of float64'),
        ('.cumsum(-1)[..., :-1]', '.cumsum(-1)[..., 1:]', 'the word that crosses top_p'),
        ('.cumsum(-1)[..., :-1]', '.cumsum(0)[..., :-1]', 'several rows'),
        ('top_p - 1e-9', 'top_p', 'but for the rounding'),
        ('(probs/probs.sum(-1, keepdim=True)).cumsum', 'probs.cumsum', 'top_p counts in what top_k has left'),
        ('order, probs/probs.sum(-1, keepdim=True))', 'order, probs)', 'top_k=1: the best word'),
        ('order, probs/probs.sum(-1, keepdim=True))', 'order, probs/probs.sum())', 'several rows'),
        ('return torch.zeros_like(probs).scatter(-1, order, probs/probs.sum(-1, keepdim=True))', 'return probs/probs.sum(-1, keepdim=True)', 'top_k=1: the best word'),
        ('(logits - logits.max(-1, keepdim=True).values)/temperature', 'logits/temperature', 'a temperature next to 0'),
        ('(logits - logits.max(-1, keepdim=True).values)/temperature', '(logits - logits.max(-1, keepdim=True).values)*temperature', 'divided by the temperature'),
        ('    if temperature == 0: return nn.functional.one_hot(logits.argmax(-1), logits.shape[-1]).double()\n', '', 'temperature 0'),
        ('logits = logits.detach().cpu().double()', 'logits = logits.cpu().double()', 'probabilities have no gradient'),
        ("    if not logits.max(-1).values.isfinite().all(): raise ValueError('logits hold a nan or inf, or no word is allowed')\n", '', 'refused'),
        ('0 < top_p <= 1', '0 <= top_p <= 1', 'a nucleus of nothing'),
        ("_whole('top_k', top_k, 1)", 'pass', 'no words at all'),
    ],
    '18.5': [
        ('x = new[None].to(x.device)', 'x = torch.cat([x, new[None]], 1)', 'each new word alone'),
        ('    with _reading(model):\n        for _', '    if True:\n        model.reset()\n        for _', 'at temperature 0'),
        ('new = torch.multinomial(probs, 1, generator=generator)', 'new = probs.argmax(keepdim=True)', 'words are drawn by their probability'),
        ('new = torch.multinomial(probs, 1, generator=generator)', 'new = torch.multinomial((probs > 0).double(), 1, generator=generator)', 'words are drawn by their probability'),
        ('new = torch.multinomial(probs, 1, generator=generator)', 'new = torch.multinomial(probs, 1)', 'the draws depend on the seed'),
        ('            if new.item() in stop: break\n            out.append(new.item())', '            out.append(new.item())\n            if new.item() in stop: break', 'is not returned'),
        ('            if new.item() in stop: break\n', '            if new.item() in stop: continue\n', 'after a stop word nothing is drawn'),
        ('temperature, top_k, top_p)\n            new', 'temperature)\n            new', 'top_k and top_p are passed on'),
        ('_last(model, x, ban)', '_last(model, x, ())', 'a banned word never comes'),
        ('out.append(new.item())', 'out.append(new)', 'Tensor where int is expected'),
        ("_whole('n_words', n_words, 0)", 'n_words', 'fewer than no words'),
        ('    with _reading(model):\n', '    model.eval(); model.reset()\n    with torch.no_grad():\n', 'what they were'),
        ('for _ in range(_whole(\'n_words\', n_words, 0)):\n', 'for _ in range(_whole(\'n_words\', n_words, 0)):\n            generator = _generator(seed)\n', 'words are drawn by their probability'),
        ('x = new[None].to(x.device)', 'x = torch.tensor([[*torch.as_tensor(ids).tolist(), *out]]); model.reset()', 'each new word alone'),
    ],
    '18.6': [
        ('            model.state = apply_nested(lambda s: s[:, rows], model.state)\n', '            model.state = apply_nested(lambda s: s[:, torch.arange(len(rows)) % s.shape[1]], model.state)\n', 'the states go along'),
        ('s[:, rows]', 's[rows]', 'may lead to the best text'),
        (' + torch.tensor([s for _, s in live], dtype=torch.float64)[:, None]', '', 'a width of 1 takes the best word'),
        ('.log_softmax(-1)', '', 'one step'),
        ('.log_softmax(-1)', '.softmax(-1)', 'one step'),
        ('i//logp.shape[1], i % logp.shape[1], s)', 'i % logp.shape[1], i//logp.shape[1], s)', 'one step'),
        ('+ [w]*(w not in stop)', '+ [w]', 'is not returned'),
        (' + [(*d, None, None) for d in done]', '', 'its probability counts'),
        ('sorted(found, key=lambda f: -f[1])[:width]', 'sorted(found, key=lambda f: -f[1])', 'only while they are among the best'),
        (' if s > -math.inf]', ']', 'a text of probability 0'),
        ('return sorted(live + done, key=lambda f: -f[1])', 'return sorted(live or done, key=lambda f: -f[1])', 'its probability counts'),
        ('return sorted(live + done, key=lambda f: -f[1])', 'return sorted(live + done, key=lambda f: f[1])', 'one step'),
        ('return sorted(live + done, key=lambda f: -f[1])', 'return sorted(live + done, key=lambda f: -f[1]/max(1, len(f[0])))', 'its probability counts'),
        ('min(width, logp.numel())', 'width', 'RuntimeError'),
        ("    _whole('width', width, 1)\n", '', 'a beam of no width'),
        ('            if not live: break\n', '', 'among the best'),
        ('_last(model, x, ban)', '_last(model, x, ())', 'banned words never come'),
        (None, '''def beam_search(model, ids, n_words, width=5, ban=(), stop=()):
    return [(sample_words(model, ids, n_words, 0, ban=ban, stop=stop), 0.)]
''', 'one step'),
    ],
    '18.7': [
        ('(age < 1)', '(age < 0)', 'finds nothing to vote'),
        ('age > self.window', 'age >= self.window', 'within the window'),
        (' | (age > self.window)', '', 'within the window'),
        ('return p.where(some, 0.), some.expand_as(p)', 'return p, some.expand_as(p)', 'nan in'),
        ('keys[:, -self.window:], words[:, -self.window:]', 'keys, words', 'no more than the window'),
        ('self.keys, self.words = keys[:, -self.window:], words[:, -self.window:]', 'self.keys, self.words = raw[:, -self.window:], targets[:, -self.window:]', 'go on where the one before ended'),
        ('        self.keys, self.words = keys[:, -self.window:], words[:, -self.window:]\n', '', 'go on where the one before ended'),
        ('self.theta*raw @ keys.mT', 'raw @ keys.mT', 'theta of 0'),
        ('(words[:, None] == targets[..., None])', '(words[:, None] == words[:, -t:, None].roll(1, 1))', 'with theta of 0'),
        ('torch.log1p(-self.lam*some)', 'math.log(1 - self.lam)', 'the model alone where nothing voted'),
        ('-torch.logaddexp(torch.log1p(-self.lam*some) - nll.float(), (self.lam*p).log())', '(1 - self.lam*some)*nll.float() - self.lam*p.log()', 'the mixture'),
        ('-torch.logaddexp(torch.log1p(-self.lam*some) - nll.float(), (self.lam*p).log())', '-((1 - self.lam*some)*(-nll.float()).exp() + self.lam*p).log()', 'and not infinity'),
        ('(self.lam*p).log())', '(self.lam*p).log()).to(nll.dtype)', 'in float32'),
        ('raw, t = raw.float(), raw.shape[1]', 't = raw.shape[1]', 'vectors in bfloat16'),
        ('self.keys = self.words = None', "if not hasattr(self, 'keys'): self.keys = self.words = None", 'got       ValueError'),
        ('scores.softmax(-1)', '(scores.exp()/scores.exp().sum(-1, keepdim=True))', 'do not overflow'),
        ("        if not 0 <= lam <= 1: raise", "        if False: raise", 'a share above 1'),
        ('if self.keys is not None and len(self.keys) != len(raw):', 'if False:', 'another kind of error'),
    ],
}
