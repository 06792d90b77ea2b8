#!/usr/bin/env python3
"""Tokenizers and loaders of `mylib.text` beside spaCy, fastai and the library tokenizers.

Tokenising the movie reviews on one process, each round with fresh tokenizers (cold caches). The bars: WordTokenizer at least as fast as spaCy's
blank English tokenizer (marks do not count as words), and three times as fast as fastai's Tokenizer with its
rules. A language-model batch of 64x70 and a classification batch of 64 take under 3% of a training step of a small AWD-LSTM (64*70 tokens at
3,600 tokens a second). Byte-pair training and encoding are beside Hugging Face's Rust, for information.

Peers that are missing are left out: pip install spacy fastai tokenizers
"""
import argparse, json, platform
from collections import Counter

import torch

from mylib.core import bench
from mylib.dataloader import DataLoader
from mylib.datasets import reviews
from mylib.text import SPECIALS, BPETokenizer, LMDataLoader, SortishSampler, Vocab, WordTokenizer, _words, pad_collate

STEP = 64*70/3600*1000  # ms, the AWD-LSTM training step of FACTS: emb 200, hidden 400, 2 layers, vocabulary 8,000


def tokenizers_of(texts):
    "Name -> function that tokenises all texts with a fresh tokenizer and returns lists of strings; and the names of what is missing."
    fs, missing = {'mylib WordTokenizer': lambda: [*map(WordTokenizer(), texts)], 'mylib, spaces=True': lambda: [*map(WordTokenizer(spaces=True), texts)]}, []
    try:
        import spacy
        def spacy_blank():
            nlp = spacy.blank('en').tokenizer
            return [[t.text for t in nlp(s)] for s in texts]
        fs['spaCy blank'] = spacy_blank
    except ImportError: missing.append('spacy')
    try:
        from fastai.text.core import SpacyTokenizer, TokenizeWithRules
        fs['fastai with rules'] = lambda: [list(t) for t in TokenizeWithRules(SpacyTokenizer())(texts)]
    except ImportError: missing.append('fastai')
    return fs, missing


def bpe_of(texts, n_tokens):
    ours = BPETokenizer.train(texts, n_tokens)
    fs = {'mylib train': lambda: BPETokenizer.train(texts, n_tokens), 'mylib encode': lambda: [*map(BPETokenizer(ours.merges, bos=False), texts)]}
    try: from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    except ImportError: return fs, ['tokenizers']
    def train():
        new = Tokenizer(models.BPE())
        new.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        new.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=n_tokens, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
        return new
    theirs = train()
    same = [tuple(m) for m in json.loads(theirs.to_str())['model']['merges']] == ours.merges
    print(f'byte-pair encoding, {len(ours.merges):,} merges: {"equal to" if same else "DIFFERENT from"} those of tokenizers')
    return fs | {'tokenizers train': train, 'tokenizers encode': lambda: [theirs.encode(s).tokens for s in texts]}, []


def one_epoch(dl):
    for _ in dl: pass


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--rounds', type=int, default=7)
    p.add_argument('--n_tokens', type=int, default=8000, help='size of the byte-pair vocabulary')
    args = p.parse_args()
    df = reviews()
    df = df[df.domain == 'movies']
    texts = df.text.tolist()
    print(f'{platform.machine()}, torch {torch.__version__}, {torch.get_num_threads()} threads; {len(texts):,} movie reviews, {sum(map(len, texts)):,} characters')

    fs, missing = tokenizers_of(texts)
    outs = {k: f() for k, f in fs.items()}
    surface = [[w for w in _words(d) if w not in SPECIALS] for d in outs['mylib WordTokenizer']]
    n_words = sum(map(len, surface))
    t = bench(fs, rounds=args.rounds, min_time=0)
    t['tokens'] = [sum(map(len, outs[k])) for k in t.index]
    t['words_per_s'] = (n_words/t.ms*1000).round(-3)  # our words, without marks, for all: marks are no speed
    print(t.round(2).to_string())
    if 'spaCy blank' in fs:
        same = sum(ours == [w for w in theirs if not w.isspace()] for ours, theirs in zip(surface, outs['spaCy blank'], strict=True))
        print(f'the same words as spaCy in {same/len(texts):.0%} of the reviews; spaCy/ours: {t.ms["spaCy blank"]/t.ms["mylib WordTokenizer"]:.2f} (bar: 1)')
    if 'fastai with rules' in fs: print(f'fastai/ours: {t.ms["fastai with rules"]/t.ms["mylib WordTokenizer"]:.2f} (bar: 3)')

    fs, more = bpe_of(texts, args.n_tokens)
    print(bench(fs, rounds=min(3, args.rounds), min_time=0).round(2).to_string())

    docs = outs['mylib WordTokenizer']
    vocab = Vocab.from_tokens(Counter(w for d in docs for w in d))
    ids = [vocab.numericalise(d) for d in docs]
    lm = LMDataLoader(ids, 64, 70, seed=0)
    lengths = [len(d) for d in ids]
    cls = DataLoader(list(zip(ids, df.label.tolist(), strict=True)), 64, sampler=SortishSampler(lengths, 64, seed=0), collate_fn=pad_collate, seed=0)
    t = bench({'language model': lambda: one_epoch(lm), 'classifier': lambda: one_epoch(cls)}, rounds=args.rounds)
    per = t.ms/[len(lm), len(cls)]
    for k in per.index: print(f'{k} batch: {per[k]:.3f} ms, {per[k]/STEP:.2%} of a training step of {STEP:.0f} ms (bar: 3%)')
    if missing + more: print(f'left out: {", ".join(missing + more)}; pip install {" ".join(missing + more)}')


if __name__ == '__main__': main()
