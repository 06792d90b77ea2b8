"`mylib.lm` against probabilities multiplied by hand, exhaustive search on Markov chains, chi-squared tests of draws, and a cache word by word."
import itertools, math
from collections import Counter

import pytest
import torch
import torch.nn.functional as F
from fastcore.test import expect_fail
from hypothesis import given, settings
from hypothesis import strategies as st
from mylib.awd_lstm import LMOutput, ResetCB, RNNRegularizerCB
from mylib.checkpoint import SaveBestCB
from mylib.core import set_seed
from mylib.dataloader import DataLoaders
from mylib.learner import Recorder
from mylib.lm import (LM_CONFIG, NeuralCache, Perplexity, beam_search, generate, get_language_model, language_model_learner, lm_dataloaders, perplexity, read_wikitext,
                      reverse_doc, sample_words, sampling_probs, token_losses, tune_cache, wikitext)
from mylib.precision import MixedPrecisionCB
from mylib.text import BOS, SPECIALS, UNK, BPETokenizer, LMDataLoader, Vocab, WordTokenizer
from scipy import stats
from torch import nn
from torch.testing import assert_close

seeds, sizes = st.integers(0, 9999), st.integers(1, 6)
TEXTS = ['The cat sat on the mat. The cat ran.', 'A dog sat. The dog ran and ran!', 'One cat, two dogs.'] * 4
TINY = dict(emb_size=6, n_hid=8, n_layers=2)


def loaders(**kw): return lm_dataloaders(TEXTS, TEXTS[:6], **dict(batch_size=4, bptt=5, min_count=1, seed=0) | kw)


def learner(seed=0, dls=None, **kw):
    set_seed(seed)
    return language_model_learner(dls or loaders(), config=TINY, device='cpu', **kw)


class Markov(nn.Module):
    "The next word depends on the last two; the one before the last is the state."
    def __init__(self, probs):
        super().__init__()
        self.logits, self.calls, self.state = nn.Parameter(probs.log()), [], None

    def reset(self): self.state = None

    def forward(self, ids):
        self.calls.append(tuple(ids.shape))
        before = torch.cat([torch.zeros_like(ids[:, :1]) if self.state is None else self.state[0], ids[:, :-1]], 1)
        self.state = ids[None, :, -1:]
        return self.logits[before, ids]


def chain(c, seed): return Markov(torch.rand(c, c, c, generator=torch.Generator().manual_seed(seed)).square() + 0.02)


def continuations(model, ids, n, ban=()):
    with torch.no_grad(): p, c = model.logits.double().index_fill(2, torch.tensor(list(ban), dtype=torch.int64), -math.inf).softmax(-1), len(model.logits)
    out = {}
    for words in itertools.product(range(c), repeat=n):
        text = [0, *ids, *words]
        out[words] = math.prod(p[a, b, w].item() for a, b, w in list(zip(text, text[1:], text[2:]))[-n:])
    return {k: v for k, v in out.items() if v > 0}


def fits(draws, exact, level=1e-4):
    counts = Counter(draws)
    assert set(counts) <= set(exact), set(counts) - set(exact)
    assert stats.chisquare([counts[k] for k in exact], [len(draws)*v/sum(exact.values()) for v in exact.values()]).pvalue > level


# Loaders

@given(st.lists(st.sampled_from(['a', 'b', 'xxmaj', BOS]), max_size=6))
def test_reverse_doc(doc):
    doc = [BOS, *doc]
    assert reverse_doc(doc) == [BOS, *reversed(doc[1:])] and reverse_doc(reverse_doc(doc)) == doc
    assert reverse_doc(doc[1:] + ['z']) == (reverse_doc(doc[1:] + ['z']))
    assert sorted(reverse_doc(tuple(doc))) == sorted(doc)


def test_reverse_doc_without_bos_and_empty(): assert reverse_doc(['a', 'b']) == ['b', 'a'] and reverse_doc([]) == []


@pytest.mark.parametrize('backwards', [False, True])
def test_the_loaders_hold_the_texts(backwards):
    dls = loaders(backwards=backwards)
    docs = [WordTokenizer()(t) for t in TEXTS]
    if backwards: docs = [reverse_doc(d) for d in docs]
    assert dls.vocab == Vocab.from_tokens(docs, 1) and dls.backwards is backwards and isinstance(dls.tokenizer, WordTokenizer)
    assert dls.vocab.tokens(dls.valid.flat) == sum(docs[:6], [])
    assert dls.vocab.tokens(dls.train.flat) == sum(docs, [])
    assert dls.train.shuffle and dls.train.vary and not dls.valid.shuffle and not dls.valid.vary and dls.train.seed == dls.valid.seed == 0
    assert dls.train.vocab is dls.valid.vocab


def test_the_vocabulary_is_that_of_training_or_the_one_given():
    dls = lm_dataloaders(['a a b'], ['c d c d'], batch_size=1, bptt=2, min_count=1)
    assert 'c' not in dls.vocab and 'b' in dls.vocab
    assert (dls.valid.flat[1:] == dls.vocab.unk).all()
    other = lm_dataloaders(['c d c d'], None, vocab=dls.vocab, batch_size=1, bptt=2)
    assert other.vocab is dls.vocab and other.valid is None
    assert len(lm_dataloaders(TEXTS, None, batch_size=1, bptt=2, min_count=1, max_size=12).vocab) == 12


def test_tokens_or_texts_and_other_tokenizers():
    a, b = loaders(), lm_dataloaders([WordTokenizer()(t) for t in TEXTS], [WordTokenizer()(t) for t in TEXTS[:6]], batch_size=4, bptt=5, min_count=1, seed=0)
    assert torch.equal(a.train.flat, b.train.flat) and torch.equal(a.valid.flat, b.valid.flat) and a.vocab == b.vocab
    bpe = BPETokenizer.train(TEXTS, 270)
    dls = lm_dataloaders(TEXTS, None, bpe, bpe.vocab, batch_size=2, bptt=5)
    assert dls.tokenizer is bpe and bpe.detokenise(dls.vocab.tokens(dls.train.flat)) == ''.join(TEXTS)
    with expect_fail(TypeError, 'valid_texts is one str'): lm_dataloaders(TEXTS, 'a text')
    with expect_fail(TypeError, 'text must be a string'): lm_dataloaders([3], None)
    with expect_fail(ValueError, 'no batches'): lm_dataloaders([], None)


# Model and Learner

def test_the_configuration_is_fastais():
    assert LM_CONFIG == dict(emb_size=400, n_hid=1152, n_layers=3, hidden_p=0.15, input_p=0.25, embed_p=0.02, weight_p=0.2, output_p=0.1, tie=True, bias=True)


@given(st.sampled_from([0., 0.5, 1., 2.]))
def test_drop_mult_scales_all_dropouts(mult):
    m = get_language_model(12, TINY, mult)
    e = m.encoder
    got = dict(hidden_p=e.hidden_dp.p, input_p=e.input_dp.p, embed_p=e.encoder.embed_p, output_p=m.output_dp.p)
    assert_close(got | dict(weight_p=e.rnns[0].weight_p), {k: LM_CONFIG[k]*mult for k in (*got, 'weight_p')})
    assert len(e.rnns) == 2 and e.rnns[0].module.hidden_size == 8 and e.encoder.emb.weight.shape == (12, 6) and m.decoder.weight is e.encoder.emb.weight
    assert LM_CONFIG['n_hid'] == 1152


def test_configuration_errors_and_options():
    with expect_fail(ValueError, 'config has n_hidden; it may have emb_size, n_hid'): get_language_model(5, dict(n_hidden=3))
    with expect_fail(ValueError, 'must be in 0..1'): get_language_model(5, TINY, 9.)
    m = get_language_model(5, TINY | dict(tie=False, bias=False))
    assert m.decoder.weight is not m.encoder.encoder.emb.weight and m.decoder.bias is None


def test_the_learner():
    learn = learner(alpha=3., beta=0.5, cbs=MixedPrecisionCB(), lr=0.02)
    assert [type(c) for c in learn.cbs if type(c) in (ResetCB, RNNRegularizerCB, MixedPrecisionCB)] == [ResetCB, RNNRegularizerCB, MixedPrecisionCB]
    reg = next(c for c in learn.cbs if isinstance(c, RNNRegularizerCB))
    assert (reg.alpha, reg.beta, learn.lr) == (3., 0.5, 0.02) and learn.model.decoder.out_features == len(learn.dls.vocab)
    assert [m.name for m in learn.metrics] == ['accuracy', 'perplexity'] and learner(metrics=[]).metrics == []
    with expect_fail(ValueError, 'dls has no vocab'): language_model_learner(DataLoaders(LMDataLoader([[1, 2, 3]], 1, 2), None))


def test_it_learns():
    learn = learner(lr=0.03, drop_mult=0., alpha=0., beta=0.)
    before = learn.validate().perplexity
    with learn.no_progress(): learn.fit(15, cbs=SaveBestCB('perplexity'))
    rows = learn.recorder.rows
    assert rows[-1]['perplexity'] < 0.7*before and rows[-1]['accuracy'] > rows[0]['accuracy']
    assert_close(learn.validate().perplexity, min(r['perplexity'] for r in rows), rtol=1e-5, atol=0)


# Perplexity

@given(st.lists(sizes, min_size=1, max_size=5), sizes, st.integers(2, 9), seeds, st.booleans())
def test_perplexity_is_the_inverse_geometric_mean(widths, n, c, seed, lazily):
    torch.manual_seed(seed)
    metric, probs = Perplexity(), []
    for t in widths:
        h, w, y = torch.randn(n, t, 3), torch.randn(c, 3), torch.randint(c, (n, t))
        out = LMOutput(h, h, w, torch.zeros(c))
        metric.update(out if lazily else out.logits(), y)
        probs.append(out.logits().double().softmax(-1).gather(2, y[..., None]).flatten())
    assert_close(metric.value, torch.cat(probs).log().mean().neg().exp().item(), rtol=1e-4, atol=0)
    metric.reset()
    assert math.isnan(metric.value)


def test_a_loss_beyond_the_exponential_is_inf():
    metric = Perplexity()
    metric.update(torch.tensor([[[0., 5000.]]]), torch.tensor([[0]]))
    assert metric.value == math.inf


def test_metrics_weigh_words_and_work_in_training():
    learn = learner(drop_mult=0.)
    x, y = torch.randint(10, 20, (2, 3, 8))
    batches = [(x[:, :7], y[:, :7]), (x[:, 7:], y[:, 7:])]
    learn.dls = DataLoaders(batches, batches)
    v = learn.validate()
    learn.model.reset()
    with torch.no_grad(): logits = learn.model.eval()(x)
    assert_close(v.accuracy, (logits.argmax(-1) == y).float().mean().item())
    assert_close(v.perplexity, math.exp(F.cross_entropy(logits.flatten(0, 1), y.flatten())), rtol=1e-4, atol=0)
    assert_close(math.log(v.perplexity), v.valid_loss, rtol=1e-5, atol=0)
    learn.cbs = [Recorder(train_metrics=True) if isinstance(c, Recorder) else c for c in learn.cbs]
    with learn.no_progress(): learn.fit(1, 1e-9)
    assert_close(learn.recorder.rows[0]['train_perplexity'], v.perplexity, rtol=1e-4, atol=0)


@given(st.integers(1, 30), st.integers(1, 5))
@settings(max_examples=15)
def test_token_losses(bptt, n):
    learn = learner()
    dl = LMDataLoader([learn.dls.valid.flat], n, bptt, shuffle=False, vary=False)
    losses, rows = token_losses(learn, dl), learn.dls.valid.flat[:n*dl.row + 1]
    x, y = rows[:-1].view(n, -1), rows[1:].view(n, -1)
    learn.model.eval().reset()
    with torch.no_grad(): expected = F.cross_entropy(learn.model(x).flatten(0, 1), y.flatten(), reduction='none').view(n, -1)
    learn.model.reset()
    assert_close(losses, expected, rtol=1e-4, atol=1e-5)
    assert_close(perplexity(learn.model, dl), expected.double().mean().exp().item(), rtol=1e-5, atol=0)


def test_reading_leaves_no_trace():
    learn = learner(drop_mult=1.)
    learn.model.train()
    learn.model.encoder.eval()
    learn.model.state = before = [tuple(torch.randn(1, 3, h) for _ in 'hc') for h in (8, 6)]
    for f in (lambda: perplexity(learn), lambda: generate(learn, 'The', 3, seed=1), lambda: generate(learn, 'The', 3, beam=2, seed=1)):
        torch.manual_seed(5)
        f()
        assert learn.model.state is before and learn.model.training and not learn.model.encoder.training
        assert all(p.grad is None for p in learn.model.parameters())
        after = torch.get_rng_state()
        torch.manual_seed(5)
        assert torch.equal(after, torch.get_rng_state())
    with expect_fail(IndexError): token_losses(learn, [(torch.full((1, 2), 10**6), torch.zeros(1, 2).long())])
    assert learn.model.state is before and learn.model.training


def test_validation_loader_is_the_default_and_validate_agrees():
    learn = learner()
    assert_close(perplexity(learn), learn.validate().perplexity, rtol=1e-5, atol=0)
    assert perplexity(learn) == perplexity(learn, learn.dls.valid)


# Probabilities to draw from

@given(st.integers(1, 12), seeds, st.sampled_from([0.2, 0.7, 1., 3.]), st.integers(1, 14), st.floats(0.01, 1))
def test_filters(c, seed, temperature, k, p):
    logits = torch.randn(c, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    probs = [math.exp(v/temperature) for v in logits.tolist()]
    probs = [v/sum(probs) for v in probs]
    best = sorted(range(c), key=lambda i: (-probs[i], i))
    assert_close(sampling_probs(logits, temperature), torch.tensor(probs, dtype=torch.float64))
    top = {i: probs[i] for i in best[:k]}
    assert_close(sampling_probs(logits, temperature, top_k=k), torch.tensor([top.get(i, 0.)/sum(top.values()) for i in range(c)], dtype=torch.float64))
    nucleus, total = {}, 0.
    for i in best:
        if total >= p - 1e-9: break
        nucleus[i] = probs[i]
        total += probs[i]
    assert_close(sampling_probs(logits, temperature, top_p=p), torch.tensor([nucleus.get(i, 0.)/total for i in range(c)], dtype=torch.float64))


@given(st.integers(1, 10), st.integers(1, 12))
def test_ties_go_to_the_smaller_number(c, k):
    assert sampling_probs(torch.zeros(c), top_k=k).nonzero()[:, 0].tolist() == list(range(min(c, k)))
    assert sampling_probs(torch.zeros(c), 0).tolist() == [1.] + [0.]*(c - 1)


def test_nucleus_on_the_edge_and_order_of_the_filters():
    p = torch.full((10,), 0.1).double()
    for k in range(1, 10): assert (sampling_probs(p.log(), top_p=k/10) > 0).sum() == k
    q = torch.tensor([0.4, 0.3, 0.2, 0.1]).double()
    assert (sampling_probs(q.log(), top_k=2, top_p=0.5) > 0).tolist() == [True, False, False, False]  # 0.4/0.7 reaches it, 0.4 would not
    assert (sampling_probs(q.log(), temperature=0.5, top_p=0.5) > 0).tolist() == [True, False, False, False]  # after the temperature


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float32])
def test_dtypes_batches_and_extremes(dtype):
    logits = torch.tensor([[[5., -3, 2]], [[100., -math.inf, 100]]]).to(dtype)
    for kw in (dict(temperature=0), {}, dict(top_k=2), dict(top_p=0.9), dict(temperature=1e-8), dict(temperature=1e8)):
        got = sampling_probs(logits, **kw)
        assert got.shape == logits.shape and got.dtype == torch.float64 and got.isfinite().all()
        assert_close(got.sum(-1), torch.ones(2, 1).double())
        assert got[1, 0, 1] == 0
    assert_close(sampling_probs(logits[0, 0], 1e8), torch.full((3,), 1/3).double())
    assert not sampling_probs(torch.zeros(3, requires_grad=True)).requires_grad


def test_filter_errors():
    x = torch.zeros(3)
    for kw, said in ((dict(temperature=-0.1), 'temperature must'), (dict(temperature=math.inf), 'temperature must'), (dict(temperature=math.nan), 'temperature must'),
                     (dict(top_p=0), 'top_p is'), (dict(top_p=1.1), 'top_p is'), (dict(top_k=0), 'top_k must')):
        with expect_fail(ValueError, said): sampling_probs(x, **kw)
    with expect_fail(TypeError, 'top_k must be an integer'): sampling_probs(x, top_k=1.5)
    for bad in (math.nan, math.inf):
        with expect_fail(ValueError, 'logits hold a nan'): sampling_probs(torch.tensor([0., bad]))
    with expect_fail(ValueError, 'no word is allowed'): sampling_probs(torch.full((2,), -math.inf))


# Sampling

@pytest.mark.parametrize('kw', [{}, dict(temperature=0.5), dict(top_k=2), dict(top_p=0.7), dict(temperature=2., top_k=2, top_p=0.9), dict(ban=[1])])
def test_draws_have_the_right_distribution(kw):
    model, ban = chain(3, 0), kw.get('ban', ())
    filters = {k: v for k, v in kw.items() if k != 'ban'}
    with torch.no_grad(): exact = continuations(Markov(sampling_probs(model.logits.index_fill(2, torch.tensor(list(ban), dtype=torch.int64), -math.inf), **filters)), [1, 2], 2)
    g = torch.Generator().manual_seed(7)
    fits([tuple(sample_words(model, [1, 2], 2, seed=g, **kw)) for _ in range(1200)], exact)


def test_a_uniform_draw_would_be_noticed():
    model, g = chain(3, 0), torch.Generator().manual_seed(0)
    with pytest.raises(AssertionError): fits([tuple(torch.randint(3, (2,), generator=g).tolist()) for _ in range(1200)], continuations(model, [1, 2], 2))


def test_one_word_is_read_at_a_time_and_batches_are_single():
    model = chain(3, 1)
    sample_words(model, [0, 1, 2, 1], 5, seed=0)
    assert model.calls == [(1, 4)] + [(1, 1)]*4


@given(seeds, st.integers(1, 12))
@settings(max_examples=15)
def test_the_state_equals_reading_everything_again(seed, n):
    learn = learner(seed % 5)
    learn.model.train()
    start = learn.dls.valid.flat[:7].tolist()
    got = sample_words(learn.model, start, n, seed=seed)
    ids, g = list(start), torch.Generator().manual_seed(seed)
    learn.model.eval()
    for _ in range(n):
        learn.model.reset()
        with torch.no_grad(): p = learn.model(torch.tensor([ids]))[0, -1].double().softmax(0)
        ids.append(torch.multinomial(p, 1, generator=g).item())
    assert ids[7:] == got


def test_seeds_stop_ban_and_doors():
    model = chain(4, 2)
    assert sample_words(model, [0], 9, seed=3) == sample_words(model, [0], 9, seed=torch.Generator().manual_seed(3)) != sample_words(model, [0], 9, seed=4)
    torch.manual_seed(3)
    a, b = sample_words(model, [0], 9), sample_words(model, [0], 9)
    assert a == sample_words(model, [0], 9, seed=3) and a != b
    long = sample_words(model, [0], 60, seed=1)
    assert sample_words(model, torch.tensor([0]), 60, seed=1, stop=[2]) == long[:long.index(2)] and len(long) == 60
    assert 3 not in sample_words(model, [0], 60, seed=1, ban=[3]) and sample_words(model, [0], 0) == []
    assert sample_words(model, [1], 20, temperature=0) == sample_words(model, [1], 20, top_k=1) == sample_words(model, [1], 20, top_p=1e-9)
    for bad in ([], [[1]]):
        with expect_fail(ValueError, 'at least one word number'): sample_words(model, bad, 3)
    with expect_fail(ValueError, 'n_words must be at least 0'): sample_words(model, [1], -1)
    with expect_fail(ValueError, 'seed must be at least 0'): sample_words(model, [1], 2, seed=-1)
    with expect_fail(ValueError, 'no word is allowed'): sample_words(model, [1], 2, ban=range(4))


# Beam search

@given(seeds, st.integers(2, 3), st.integers(1, 3))
@settings(max_examples=20)
def test_a_wide_beam_finds_everything(seed, c, n):
    model = chain(c, seed)
    exact = continuations(model, [1, 0], n)
    found = beam_search(model, [1, 0], n, width=c**n + 3)
    assert {tuple(w) for w, _ in found} == set(exact) and len(found) == len(exact)
    assert_close([math.exp(s) for _, s in found], [exact[tuple(w)] for w, _ in found], rtol=1e-5, atol=0)
    assert [s for _, s in found] == sorted((s for _, s in found), reverse=True)
    assert model.state is None


@given(seeds, st.integers(1, 5))
@settings(max_examples=20)
def test_a_narrow_beam_tells_the_truth(seed, width):
    model = chain(3, seed)
    exact = continuations(model, [1, 2], 4)
    found = beam_search(model, [1, 2], 4, width)
    assert len(found) == width and len({tuple(w) for w, _ in found}) == width
    for w, s in found: assert math.isclose(math.exp(s), exact[tuple(w)], rel_tol=1e-5)
    if width == 1: assert found[0][0] == sample_words(model, [1, 2], 4, temperature=0)
    assert max(n for n, _ in model.calls) <= width


def test_beam_with_ends_and_bans():
    model = chain(3, 0)
    exact = {}
    for w, v in continuations(model, [1, 2], 3).items():
        cut = (w[:w.index(0)], True) if 0 in w else (w, False)
        exact[cut] = exact.get(cut, 0) + v
    found = beam_search(model, [1, 2], 3, width=99, stop=[0])
    assert_close(sorted(math.exp(s) for _, s in found), sorted(exact.values()), rtol=1e-5, atol=0)
    assert not any(0 in w for w, _ in found)
    banned = beam_search(model, [1, 2], 3, width=99, ban=[1])
    exact = continuations(model, [1, 2], 3, ban=[1])
    assert_close({tuple(w): math.exp(s) for w, s in banned}, exact, rtol=1e-5, atol=0)
    assert beam_search(model, [1, 2], 0, width=3) == [([], 0.)]
    first = math.log(continuations(model, [1, 2], 1)[0,])
    assert_close(dict((tuple(w), s) for w, s in beam_search(model, [1, 2], 5, width=99, stop=[0]))[()], first, rtol=1e-5, atol=0)
    assert beam_search(model, [1, 2], 5, width=4, stop=[0, 1, 2])[0][0] == []
    with expect_fail(ValueError, 'width must be at least 1'): beam_search(model, [1], 2, width=0)


def test_an_early_end_is_kept_when_it_is_better():
    p = torch.full((3, 3, 3), 0.01)
    p[:, 0] = torch.tensor([0.01, 0.55, 0.45])  # after 0: word 1, or the end (2)
    p[:, 1] = torch.tensor([0.5, 0.5, 0.01])
    model = Markov(p)
    assert beam_search(model, [0], 3, width=2, stop=[2])[0][0] == []


# Texts

def test_generate():
    learn = learner()
    text = generate(learn, 'The cat', 6, seed=1)
    assert text.startswith('The cat') and text == generate(learn, 'The cat', 6, seed=1)
    assert any(text != generate(learn, 'The cat', 6, seed=s) for s in range(2, 6))
    assert generate(learn.model, 'The cat', 6, seed=1, vocab=learn.dls.vocab, tokenizer=WordTokenizer()) == text
    assert generate(learn, 'The cat', 0) == 'The cat'
    assert generate(learn, '', 4, seed=0) is not None  # xxbos alone is a beginning
    assert generate(learn, 'The cat', 5, beam=3, temperature=0) == generate(learn, 'The cat', 5, beam=3, temperature=0, seed=9)
    for kw in (dict(beam=2, top_k=3), dict(beam=2, top_p=0.5)):
        with expect_fail(ValueError, 'give beam, or the other two'): generate(learn, 'The', 2, **kw)
    with expect_fail(ValueError, 'needs a vocab and a tokenizer'): generate(learn.model, 'The')


def test_unknown_words_are_written_only_on_request():
    learn = learner()
    with torch.no_grad(): learn.model.decoder.bias[learn.dls.vocab.unk] = 50.
    assert UNK not in generate(learn, 'The cat', 5, seed=0) and UNK in generate(learn, 'The cat', 5, seed=0, no_unk=False)
    assert UNK not in generate(learn, 'The cat', 5, beam=2, seed=0)


def test_a_new_document_ends_the_text():
    learn = learner()
    with torch.no_grad(): learn.model.decoder.bias[learn.dls.vocab.stoi[BOS]] = 50.
    assert generate(learn, 'The cat', 5, seed=0) == 'The cat' == generate(learn, 'The cat', 5, beam=2, temperature=0)


def test_backwards_models_write_to_the_left():
    dls = loaders(backwards=True)
    learn = learner(dls=dls)
    text = generate(learn, 'the mat.', 5, seed=2)
    assert text.endswith('the mat.') and len(text) > len('the mat.')
    ids = dls.vocab.numericalise(reverse_doc(WordTokenizer()('the mat.')))
    number = dls.vocab.stoi
    new = sample_words(learn.model, ids, 5, ban=[number['xxunk'], number['xxpad']], stop=[number[BOS], number['xxeos']], seed=2)
    assert text == WordTokenizer().detokenise([*dls.vocab.tokens(new)[::-1], *WordTokenizer()('the mat.')[1:]])


def test_beam_draws_by_probability():
    class Letters:
        def __call__(self, text): return list(text)
        def detokenise(self, tokens): return ''.join(tokens)
    model, v, g = chain(3, 0), Vocab([UNK, 'a', 'b']), torch.Generator().manual_seed(0)
    def write(**kw): return generate(model, 'ab', 2, vocab=v, tokenizer=Letters(), no_unk=False, seed=g, **kw)[2:]
    for temperature in (1., 0.5):
        exact = {''.join(v.tokens(k)): p**(1/temperature) for k, p in continuations(model, [1, 2], 2).items()}
        fits([write(beam=9, temperature=temperature) for _ in range(500)], exact)
    assert write(beam=9, temperature=0) == max(exact, key=exact.get)


# The cache

def slow_cache(nll, raw, words, window, theta, lam):
    out = []
    for t in range(len(nll)):
        weights = {i: math.exp(theta*float(raw[t] @ raw[i])) for i in range(max(0, t - window), t)}
        p = math.exp(-nll[t])
        votes = sum(w for i, w in weights.items() if words[i] == words[t])
        out.append(-math.log((1 - lam)*p + lam*votes/sum(weights.values()) if weights else p))
    return out


@given(st.integers(1, 3), st.lists(sizes, min_size=1, max_size=4), sizes, st.sampled_from([0., 0.5, 2.]), st.sampled_from([0., 0.3, 0.9]), seeds)
def test_cache_equals_the_loop(n, widths, window, theta, lam, seed):
    torch.manual_seed(seed)
    t = sum(widths)
    nll, raw, y = torch.rand(n, t)*4, torch.randn(n, t, 3), torch.randint(3, (n, t))
    cache, got, at = NeuralCache(window, theta, lam), [], 0
    for w in widths:
        s = slice(at, at := at + w)
        got.append(cache.losses(nll[:, s], raw[:, s], y[:, s]))
    assert_close(torch.cat(got, 1), torch.tensor([slow_cache(*r, window, theta, lam) for r in zip(nll, raw, y)]), rtol=1e-3, atol=1e-4)
    assert cache.keys.shape[1] == min(window, t)
    if lam == 0: assert_close(torch.cat(got, 1), nll)
    assert_close(cache.mixed(torch.tensor([[200.]]), torch.zeros(1, 1), torch.tensor([[True]])), torch.tensor([[200 - math.log(1 - lam)]]))  # less than float32 can hold


def test_cache_probabilities_sum_to_one():
    torch.manual_seed(0)
    raw, y, c = torch.randn(1, 20, 4), torch.randint(5, (1, 20)), 5
    total = 0
    for w in range(c):
        cache = NeuralCache(99, 0.7)
        cache.votes(raw[:, :19], y[:, :19])
        total += cache.votes(raw[:, 19:], torch.tensor([[w]]))[0].item()
    assert math.isclose(total, 1, rel_tol=1e-5)


def test_cache_doors():
    for kw, said in ((dict(window=0), 'window must'), (dict(theta=-1), 'theta must'), (dict(theta=math.inf), 'theta must'), (dict(lam=1.1), 'lam is a share'), (dict(lam=-0.1), 'lam is a share')):
        with expect_fail(ValueError, said): NeuralCache(**kw)
    cache = NeuralCache()
    cache.votes(torch.randn(2, 3, 4), torch.zeros(2, 3).long())
    with expect_fail(ValueError, 'call reset() where another stream begins'): cache.votes(torch.randn(1, 3, 4), torch.zeros(1, 3).long())
    cache.reset()
    cache.votes(torch.randn(1, 3, 4), torch.zeros(1, 3).long())
    assert repr(NeuralCache(5, 0.5, 0.25)) == 'NeuralCache(window=5, theta=0.5, lam=0.25)'


def test_cache_in_perplexity_is_reset_and_half_precision_is_taken():
    learn, cache = learner(), NeuralCache(20, 1., 0.3)
    a = perplexity(learn, cache=cache)
    assert a == perplexity(learn, cache=cache) != perplexity(learn)
    raw, y = torch.randn(1, 6, 4).bfloat16(), torch.randint(3, (1, 6))
    assert_close(NeuralCache().votes(raw, y), NeuralCache().votes(raw.float(), y))


def test_tune_cache():
    learn = learner()
    cache, table = tune_cache(learn, learn.dls.valid, 30, thetas=(0., 1.), lams=(0., 0.2, 0.5))
    assert table.shape == (2, 3) and table.index.tolist() == [0., 1.] and cache.window == 30
    for theta, lam in itertools.product((0., 1.), (0., 0.2, 0.5)): assert_close(table.loc[theta, lam], perplexity(learn, learn.dls.valid, NeuralCache(30, theta, lam)), rtol=1e-5, atol=0)
    assert table.loc[cache.theta, cache.lam] == table.min().min() and cache.keys is None


# WikiText

def test_read_wikitext(tmp_path):
    text = ' \n = One = \n \n A cat <unk> @-@ like . \n = = Part = = \n \n More . \n \n = Two words = \n \n End . \n'
    (tmp_path/'wiki.train.tokens').write_text(text, encoding='utf-8')
    docs = read_wikitext(tmp_path/'wiki.train.tokens')
    assert len(docs) == 2 and docs[1][:4] == ['=', 'Two', 'words', '=']
    flat = sum(docs, [])
    assert flat.count('xxeos') == text.count('\n') and len(flat) == len(text.split()) + text.count('\n') and UNK in flat and '<unk>' not in flat


def test_wikitext_only_where_present(tmp_path, monkeypatch):
    monkeypatch.setenv('MYLIB_DATA', str(tmp_path))
    assert wikitext() is None
    folder = tmp_path/'wikitext_2'/'wikitext-2'
    folder.mkdir(parents=True)
    for k, part in enumerate(('train', 'valid', 'test')): (folder/f'wiki.{part}.tokens').write_text(f' \n = {part} = \n \n a b c {k} \n' * (k + 1), encoding='utf-8')
    train, valid, test = wikitext()
    assert 'train' in train[0] and 'valid' in valid[0] and 'test' in test[0]
    dls = lm_dataloaders(train, valid, vocab=Vocab.from_tokens(train, 1), batch_size=1, bptt=3)
    assert len(dls.vocab) == len(SPECIALS) + len({*train[0]} - {*SPECIALS})
