"Wrong answers to the exercises of lesson 16; see 03_losses.py for the form."

WRONG = {
    '16.1': [
        (None, '''def _case(w):
    if w.isupper(): return [TK_UP, w.lower()]
    if w[:1].isupper(): return [TK_MAJ, w.lower()]
    return [w]
''', 'a single capital counts as a capital first'),
        (None, '''def _case(w):
    if w[:1].isupper() and w[1:].islower() or len(w) == 1 and w.isupper(): return [TK_MAJ, w.lower()]
    if w.isupper(): return [TK_UP, w.lower()]
    return [w]
''', 'a letter that lower case cannot give back stays'),
        ('((TK_MAJ, str.capitalize), (TK_UP, str.upper))', '((TK_UP, str.upper), (TK_MAJ, str.capitalize))', 'a single capital counts as a capital first'),
        (' and low not in SPECIALS', '', 'a word that would become one of the marks'),
        ('if undo(low) == w: return [mark, low]', 'if undo(w) == w: return [mark, low]', 'cannot give back stays'),
        ('low != w and ', '', 'digits and signs have no case'),
        ('str.capitalize', 'str.title', 'signs between capitals do no harm'),
        ('return [mark, low]', 'return [mark, w]', 'a capital first becomes xxmaj'),
        ('    return [w]', '    return [low]', 'a word that neither mark brings back'),
    ],
    '16.2': [
        ('n_words, n_chars, case = 1, 1, None', 'n_words, n_chars = 1, 1', 'xxmaj gives a capital first'),
        ('n_words, n_chars, case = 1, 1, None', 'case = None', 'xxwrep: the word as often'),
        ('n_chars - 1', 'n_chars', 'words without marks'),
        ("next(it, '')", 'next(it)', 'no mark stumbles over the end'),
        ("n = int(n) if n.isdecimal() and len(n) < 4 else 1", 'n = int(n)', 'got       ValueError'),
        ("n.isdecimal() and len(n) < 4", 'n.isdecimal()', 'a number of twenty digits'),
        ("n.isdecimal()", 'n.isdigit()', 'what is no number of decimal digits'),
        ('t[-1:]', 't[-1]', 'an empty word'),
        ('t.capitalize() if', 't.title() if', 'whatever `_repeats` makes'),
        ('yield from [t + t[-1:]*(n_chars - 1)]*n_words', 'yield from [t*n_chars]*n_words', 'xxrep: the last character'),
        ('yield from [t + t[-1:]*(n_chars - 1)]*n_words', 'yield from [t + t[-1:]*(n_chars - 1)]', 'xxwrep: the word as often'),
    ],
    '16.4': [
        ('out.append(new); i += 2', 'out.append(new); i += 1', 'the pair becomes the new id'),
        ('if i + 1 < len(word) and (word[i], word[i + 1]) == pair', 'if (word[i], word[i + 1]) == pair', 'IndexError'),
        ('if i + 1 < len(word) and (word[i], word[i + 1]) == pair', 'if i + 2 < len(word) and (word[i], word[i + 1]) == pair', 'everywhere'),
        ('if i + 1 < len(word) and (word[i], word[i + 1]) == pair', 'if i + 1 < len(word) and {word[i], word[i + 1]} == {*pair}', 'only in this order'),
        (None, 'def _merge(word, pair, new):\n    for i in range(len(word) - 2, -1, -1):\n        if tuple(word[i:i + 2]) == pair: word[i:i + 2] = [new]\n    return word', 'word, afterwards'),
        (None, 'def _merge(word, pair, new):\n    word = list(word)\n    for i in range(len(word) - 2, -1, -1):\n        if tuple(word[i:i + 2]) == pair: word[i:i + 2] = [new]\n    return word', 'from the left'),
        (None, 'def _merge(word, pair, new):\n    out = []\n    for w in word:\n        if out and (out[-1], w) == pair: out[-1] = new\n        else: out.append(w)\n    return out', 'the new id may be that of the pair'),
    ],
    '16.5': [
        (None, '''def train_merges(counts, n_tokens, min_count=1, alphabet=None):
    tokens = sorted(set(''.join(counts)) if alphabet is None else alphabet)
    ids = {t: i for i, t in enumerate(tokens)}
    words, merges = [([ids[c] for c in w], n) for w, n in counts.items()], []
    while len(tokens) < n_tokens:
        pairs = Counter()
        for w, n in words:
            for p in zip(w, w[1:]): pairs[p] += n
        if not pairs: break
        best = min(pairs, key=lambda p: (-pairs[p], p))
        if pairs[best] < max(1, min_count): break
        merges.append((tokens[best[0]], tokens[best[1]]))
        new = ids.setdefault(''.join(merges[-1]), len(tokens))
        if new == len(tokens): tokens.append(''.join(merges[-1]))
        words = [(_merge(w, best, new), n) for w, n in words]
    return merges
''', 'a merge touches only the words'),
        ("pairs[p] += freq[k]; where[p].add(k)", "pairs[p] += 1; where[p].add(k)", 'a word counts as often as it occurs'),
        ('if -n < max(1, min_count): break', 'if -n < 1: break', 'rarer than min_count'),
        ('if -n < max(1, min_count): break', 'if -n < min_count: break', 'a pair that does not occur'),
        ('len(tokens) < n_tokens', 'len(tokens) <= n_tokens', 'it stops at n_tokens'),
        ('len(tokens) < n_tokens', 'len(merges) < n_tokens', 'it stops at n_tokens'),
        ('for p in grown: heapq.heappush(heap, (-pairs[p], p))', 'pass', "Sennrich's example"),
        ("            if pairs[pair] > 0: heapq.heappush(heap, (-pairs[pair], pair))\n", '', 'pairs beside a merge'),
        ("for p in zip(words[k], words[k][1:]): pairs[p] -= freq[k]\n", "pass\n", "Sennrich's example"),
        ('sorted(set(\'\'.join(counts)) if alphabet is None else alphabet)', "list(dict.fromkeys(''.join(counts)) if alphabet is None else alphabet)", 'ties go to the pair whose tokens are older'),
        ('sorted(set(\'\'.join(counts)) if alphabet is None else alphabet)', "sorted(set(''.join(counts)))", 'a given alphabet counts as tokens'),
        ('merges.append((a, b))', 'merges.append(a + b)', 'one word of two letters'),
    ],
    '16.6': [
        (None, "def _bpe_word(word, rank):\n    w = list(word)\n    while known := [p for p in zip(w, w[1:]) if p in rank]:\n        w = _merge(w, best := min(known, key=rank.get), ''.join(best))\n    return w", 'not looked through again'),
        ('if w[i] != a or j >= n or w[j] != b: continue', 'if w[i] is None or j >= n: continue', 'the earlier merge comes first'),
        ('        if after[i] < n: before[after[i]] = i\n', '', 'and again'),
        (', after[j]\n', ', j\n', 'is merged again'),
        ('for l, r in ((before[i], i), (i, after[i])):', 'for l, r in ((i, after[i]),):', 'on its left'),
        ('for l, r in ((before[i], i), (i, after[i])):', 'for l, r in ((before[i], i),):', 'is merged again'),
        ('[(rank[p], i, *p)', '[(i, rank[p], *p)', 'wherever it fits'),
        ('return [t for t in w if t is not None]', 'return w', 'one merge'),
    ],
    '16.7': [
        ('(len(self.flat) - 1)//self.batch_size', 'len(self.flat)//self.batch_size', 'got       RuntimeError'),
        ('stream[1:n + 1]', 'stream[:n]', 'one token further'),
        ('.view(self.batch_size, -1), stream[1:n + 1].view(self.batch_size, -1)', '.view(-1, self.batch_size).T, stream[1:n + 1].view(-1, self.batch_size).T', 'strips of rows'),
        ('if not self.vary: return [*range(0, self.row, self.bptt), self.row]', 'if not self.vary: return [*range(0, self.row, self.bptt)]', 'strips of rows'),
        ('if not self.vary: return (self.row + self.bptt - 1)//self.bptt', 'if not self.vary: return self.row//self.bptt', 'the number of batches'),
        ('yield x[:, a:b].clone(), y[:, a:b].clone()', 'yield x[:, a:b], y[:, a:b]', 'writing into a batch'),
        ('order.set_epoch(epoch)\n', '\n', 'another order in each epoch'),
        ('order, docs = RandomSampler(len(self.sizes), self.seed), self.flat.split(self.sizes)\n        order.set_epoch(epoch)\n        return torch.cat([docs[i] for i in order])',
         'docs = self.flat.split(self.sizes)\n        return torch.cat([docs[i] for i in torch.randperm(len(docs))])', 'another order in each epoch'),
        ('order, docs = RandomSampler(len(self.sizes), self.seed), self.flat.split(self.sizes)\n        order.set_epoch(epoch)\n        return torch.cat([docs[i] for i in order])',
         'return self.flat[list(RandomSampler(len(self.flat), self.seed))]', 'in one piece'),
        ('spawn_key=(epoch, 1)', 'spawn_key=(1,)', 'the widths are not'),
        ('np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=(epoch, 1)))', 'np.random.default_rng()', 'the same in each epoch'),
        ('return [0, *(np.arange(1, k + 1) + np.rint(extra*((self.row - k)/extra[-1])).astype(int)).tolist()]',
         'return [0, *(np.arange(1, k + 1) + np.rint(extra).astype(int)).tolist()]', 'fill the row exactly'),
        ('min(5, self.bptt/10)', '0.1', 'by about 5'),
        ('np.where(rng.random(k) < 0.95, self.bptt, self.bptt/2)', 'np.full(k, self.bptt)', '1 in 20'),
        ('cuts[start:], cuts[start + 1:]', 'cuts, cuts[1:]', 'a pass can begin at any batch'),
        ('return next(self._pass(self.epoch, 0))', 'return next(iter(self))', 'looking at a batch changes nothing'),
        ('return next(self._pass(self.epoch, 0))', 'return next(self._pass(0, 0))', 'looking at a batch changes nothing'),
        ("_draw_seed() if seed is None else _whole('seed', seed, 0)", "seed or 0", 'one is drawn from the global generator'),
        ('        return self\n\n    def __repr__', '\n    def __repr__', 'can be moved'),
        ('        if self.row < 1:\n', '        if False:\n', 'refused'),
        ('if not t.numel(): t = t.long()\n', '\n', 'empty ones too'),
        ('and not t.is_floating_point() ', '', 'a document of floats'),
    ],
    '16.8': [
        ('if n: row[', 'row[', 'an empty text is padding alone'),
        ('-n if first else 0:None if first else n', ':n', 'padded at the front'),
        ('max(1, *sizes)', 'max(sizes)', 'a batch of empty texts'),
        ('torch.full((len(docs), max(1, *sizes)), pad)', 'torch.zeros(len(docs), max(1, *sizes), dtype=torch.int64)', 'with the number of xxpad'),
        ('torch.full((len(docs), max(1, *sizes)), pad)', 'torch.full((len(docs), max(1, *sizes)), float(pad))', 'dtype float32 instead of int64'),
        ('(x, torch.tensor(sizes), y) if', '(x, y, torch.tensor(sizes)) if', 'x, lengths, y'),
        ('(x, torch.tensor(sizes), y) if lengths', '(x, sizes, y) if lengths', 'x, lengths, y'),
        ('docs = [_ids(d, i) for i, (d, _) in enumerate(items)]', 'docs = [torch.as_tensor(d).long() for d, _ in items]', 'refused'),
        ('torch.tensor([label for _, label in items])', 'torch.tensor([int(label) for _, label in items])', 'labels that are floats'),
    ],
    '16.9': [
        ('full = n - n % bs', 'full = n', 'got       ValueError'),
        ('-self.lengths[order], pools', 'self.lengths[order], pools', 'one pool'),
        ('-self.lengths[order], pools', 'pools, -self.lengths[order]', 'a pool of one batch is not sorted'),
        ('np.minimum(np.arange(n)//(bs*self.pool), max(0, n//(bs*self.pool) - 1))', 'np.arange(n)//(bs*self.pool)', 'the longest text is in the first batch'),
        ('            batches[[0, longest]] = batches[[longest, 0]]\n', '            pass\n', 'the longest text is in the first batch'),
        ('            batches[[0, longest]] = batches[[longest, 0]]\n', '            batches[0], batches[longest] = batches[longest], batches[0]\n', 'every index once'),
        ('[*batches.ravel().tolist(), *order[full:].tolist()]', '[*order[full:].tolist(), *batches.ravel().tolist()]', 'the incomplete one last'),
        ('[*batches.ravel().tolist(), *order[full:].tolist()]', 'batches.ravel().tolist()', 'every index once'),
        ('np.random.default_rng(np.random.SeedSequence(self._random.seed, spawn_key=(self._random.epoch, 1)))', 'np.random', 'the same again in the same epoch'),
        ('batches = batches[np.random.default_rng(np.random.SeedSequence(self._random.seed, spawn_key=(self._random.epoch, 1))).permutation(len(batches))]', 'pass', 'in the order of their lengths'),
        ('self._random.set_epoch(epoch)', 'pass', 'other batches in another'),
        ('self._random = RandomSampler(len(self.lengths), seed)', 'self._random = RandomSampler(len(self.lengths), seed or 0)', 'one is drawn from the global generator'),
        ('return len(self.lengths)\n', 'return -(-len(self.lengths)//self.batch_size)\n', 'len is the number of texts'),
        (' or not len(self.lengths)', '', 'no texts are refused'),
        ('self._random.order.numpy()', 'np.arange(len(self))', 'other batches in another'),
    ],
    '16.3': [
        ('self.stoi.get(t, self.unk)', 'self.stoi[t]', 'becomes xxunk'),
        ('self.stoi.get(t, self.unk)', 'self.stoi.get(t, 0)', 'wherever that stands'),
        ('sorted((-n, t) for t, n in counts.items() if n >= min_count and t not in SPECIALS)', '[(-n, t) for t, n in counts.most_common() if n >= min_count and t not in SPECIALS]', 'then by frequency'),
        (' and t not in SPECIALS', '', 'special tokens first'),
        ('n >= min_count', 'n > min_count', 'special tokens first'),
        ('SPECIALS + [t for _, t in ranked])[:max_size]', 'SPECIALS + [t for _, t in ranked][:max_size])', 'counts the special tokens'),
        ("json.dumps(self.itos).encode()", "''.join(self.itos).encode()", 'its borders'),
        ("json.dumps(self.itos).encode()", "' '.join(self.itos).encode()", 'its borders'),
        ("json.dumps(self.itos).encode()", "json.dumps(sorted(self.itos)).encode()", 'and its number'),
        ('        if new.fingerprint != claim: raise', '        if False: raise', 'a file that was changed'),
        ('if fingerprint not in (None, claim):', 'if False:', 'the one expected'),
        ("_not_str(tokens, 'tokens is')", 'tokens', 'a string in place of a list'),
        ("_not_str(d, 'docs holds')", 'd', 'strings in place of documents'),
        ('if ids and not 0 <= min(ids) <= max(ids) < len(self):', 'if ids and not max(ids) < len(self):', 'a negative one'),
        ('if ids and not 0 <= min(ids) <= max(ids) < len(self):', 'if False:', 'a number that no token has'),
        ('        if len(self.stoi) != len(self.itos): raise', '        if False: raise', 'a token that comes twice'),
        ('isinstance(other, Vocab) and self.itos == other.itos', 'set(self.itos) == set(other.itos)', 'equal if the tokens'),
    ],
}
