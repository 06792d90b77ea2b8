"`mylib.awd_lstm` against compositions of PyTorch's functions with the same masks, against hand-made sums, and in fits that are killed and resumed."
import copy, inspect, math, pickle, warnings
from unittest.mock import patch

import mylib.awd_lstm as awd
import pytest
import torch
import torch.nn.functional as F
from fastcore.test import expect_fail
from hypothesis import given, settings
from hypothesis import strategies as st
from mylib.awd_lstm import AWDLSTM, EmbeddingDropout, LanguageModel, LMOutput, ResetCB, RNNDropout, RNNRegularizerCB, WeightDropout, linear_cross_entropy, lm_loss
from mylib.checkpoint import CheckpointCB
from mylib.learner import Callback, Learner, Recorder, accuracy
from mylib.losses import cross_entropy
from mylib.precision import GradientAccumulationCB, MixedPrecisionCB
from mylib.rnn import GRU, LSTM, QRNN, RNN
from mylib.text import LMDataLoader
from peers import or_skip
from torch import nn
from torch.testing import assert_close

sizes, seeds, flags, shares = st.integers(1, 6), st.integers(0, 9999), st.booleans(), st.sampled_from([0., 0.2, 0.5, 0.9, 1.])
PAIRS = {RNN: nn.RNN, GRU: nn.GRU, LSTM: nn.LSTM}


def grads(out, inputs, seed=0):
    g = torch.randn(out.shape, generator=torch.Generator().manual_seed(seed), dtype=out.dtype)
    return torch.autograd.grad(out, inputs, g, allow_unused=True)


def both(seed, f, g):
    torch.manual_seed(seed); a = f()
    torch.manual_seed(seed); b = g()
    return a, b


@given(sizes, sizes, sizes, shares, seeds)
def test_rnn_dropout_is_dropout_of_channels(n, t, d, p, seed):
    torch.manual_seed(seed)
    x = torch.randn(n, t, d, requires_grad=True)
    a, b = both(seed, lambda: RNNDropout(p)(x), lambda: F.dropout1d(x.transpose(1, 2), p).transpose(1, 2))
    assert torch.equal(a, b) and torch.equal(*(grads(o, x)[0] for o in (a, b)))
    assert RNNDropout(p).eval()(x) is x


def test_masks_differ_between_rows_and_calls_and_keep_the_mean():
    drop, x = RNNDropout(0.3), torch.ones(300, 2, 400)
    a, b = drop(x), drop(x)
    assert (a[0] != a[1]).any() and (a != b).any() and (a[:, 0] == a[:, 1]).all()
    assert abs(a.mean() - 1) < 0.01 and set(a.unique().tolist()) == {0., a.max().item()} and math.isclose(a.max().item(), 1/0.7, rel_tol=1e-6)
    half = drop(torch.ones(2, 3, 4, dtype=torch.bfloat16))
    assert half.dtype == torch.bfloat16


@given(st.integers(3, 9), sizes, sizes, sizes, shares, st.sampled_from([None, 0, 1]), seeds)
def test_embedding_dropout_is_a_table_without_rows(v, n, t, d, p, pad, seed):
    torch.manual_seed(seed)
    drop, ids = EmbeddingDropout(nn.Embedding(v, d, padding_idx=pad), p), torch.randint(v, (n, t))
    w = drop.emb.weight
    a, b = both(seed, lambda: drop(ids), lambda: F.embedding(ids, w*F.dropout(torch.ones(v, 1), p), pad))
    assert_close(a, b)
    assert_close(*(grads(o, w)[0] for o in (a, b)))
    drop.eval()
    assert torch.equal(drop(ids), drop.emb(ids))
    assert list(drop.state_dict()) == ['emb.weight']


@settings(max_examples=40)
@given(st.sampled_from(list(PAIRS)), sizes, sizes, sizes, st.integers(1, 2), flags, flags, st.sampled_from([0., 0.3, 0.7, 1.]), seeds)
def test_weight_dropout_is_a_layer_of_dropped_weights(kind, n, t, h, depth, two, every, p, seed):
    torch.manual_seed(seed)
    layer = kind(3, h, depth, bidirectional=two).double()
    names = [k for k, _ in layer.named_parameters() if k.startswith('weight' if every else 'weight_hh')]
    drop, before = WeightDropout(layer, p, names if every else None), copy.deepcopy(layer.state_dict())
    assert drop.layer_names == names and len(names) == depth*(1 + two)*(1 + every)
    x = torch.randn(n, t, 3).double()
    (out, state), masks = both(seed, lambda: drop(x), lambda: {k: F.dropout(torch.ones_like(before[k]), p) for k in names})
    theirs = PAIRS[kind](3, h, depth, bidirectional=two, batch_first=True).double()
    theirs.load_state_dict({k: w*masks.get(k, 1) for k, w in before.items()})
    expected, s = theirs(x)
    assert_close((out, state), (expected, s))
    for k, a, b in zip(before, grads(out, list(layer.parameters())), grads(expected, list(theirs.parameters())), strict=True): assert_close(a, b*masks.get(k, 1))
    assert all(torch.equal(w, before[k]) for k, w in layer.state_dict().items())
    theirs.load_state_dict(before)
    assert_close(layer(x), theirs(x))
    first = drop(x[:, :1])[1]
    assert_close(drop.eval()(x, first), theirs(x, first))


def test_weight_dropout_leaves_no_traces():
    drop, x = WeightDropout(LSTM(3, 4)), torch.randn(2, 5, 3)
    opt = torch.optim.SGD(drop.parameters(), lr=1.)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        drop(x)[0].sum().backward()
        opt.step()
        twins = copy.deepcopy(drop), pickle.loads(pickle.dumps(drop))
    plain = nn.LSTM(3, 4, batch_first=True)
    plain.load_state_dict(drop.module.state_dict())
    for d in (drop, *twins):
        assert_close(d.module(x), plain(x))
        assert_close(d.eval()(x), plain(x))
    assert [k for k, _ in drop.named_parameters()] == [f'module.{k}' for k, _ in plain.named_parameters()]
    assert WeightDropout(LSTM(3, 4), 0.5, 'weight_ih_l0').layer_names == ['weight_ih_l0']
    one_row = drop.train()(x[:1].expand(6, -1, -1))[0]
    assert_close(one_row, one_row[:1].expand(6, -1, -1))  # one mask for all rows


def composed(model, ids, states, embed_p, input_p, weight_p, hidden_p):
    "The encoder from PyTorch's functions: masks in the order words, input, and for each layer its input and its weights."
    w = dict(model.named_parameters())
    table = w['encoder.emb.weight']
    x = F.embedding(ids, table*(F.dropout(torch.ones(len(table), 1, dtype=table.dtype), embed_p) if embed_p else 1), model.encoder.emb.padding_idx)
    if input_p: x = F.dropout1d(x.transpose(1, 2), input_p).transpose(1, 2)
    after = []
    for k, state in enumerate(states):
        if k and hidden_p: x = F.dropout1d(x.transpose(1, 2), hidden_p).transpose(1, 2)
        rnn = model.rnns[k].module
        with torch.random.fork_rng(devices=[]): layer = nn.LSTM(rnn.input_size, rnn.hidden_size, batch_first=True, bidirectional=rnn.bidirectional).to(table.dtype)
        names = [n for n, _ in layer.named_parameters()]
        p = {n: w[f'rnns.{k}.module.{n}'] for n in names}
        if weight_p: p |= {n: F.dropout(p[n], weight_p) for n in names if n.startswith('weight_hh')}
        x, state = torch.func.functional_call(layer, p, (x, state))
        after.append(tuple(s.detach() for s in state))
    return x, after


@settings(max_examples=40)
@given(sizes, sizes, sizes, st.integers(1, 3), flags, st.sampled_from([0., 0.3, 0.8]), st.sampled_from([0., 0.4]), seeds)
def test_encoder_is_the_composition_over_two_batches(n, t, t2, depth, bidir, p, q, seed):
    torch.manual_seed(seed)
    drops = dict(embed_p=p, input_p=q, weight_p=p, hidden_p=q)
    model = AWDLSTM(20, 6, 8, depth, bidir=bidir, **drops).double()
    one, two = torch.randint(20, (n, t)), torch.randint(20, (n, t2))
    params = list(model.parameters())
    def ours(): model.reset(); first = model(one); return first, model(two)
    def theirs():
        first, states = composed(model, one, [None]*depth, **drops)
        return first, composed(model, two, [None]*depth if bidir else states, **drops)[0]
    for a, b in zip(*both(seed, ours, theirs), strict=True):
        assert_close(a, b)
        for g, e in zip(grads(a, params), grads(b, params), strict=True): assert_close(g, e)
    model.eval().reset()
    if bidir: assert model.state is None
    else:
        pieces = torch.cat([model(one), model(two)], 1)
        model.reset()
        assert_close(model(torch.cat([one, two], 1)), pieces)
        assert not any(s.requires_grad for pair in model.state for s in pair)


def test_encoder_defaults_sizes_and_start():
    ours = {k: v.default for k, v in list(inspect.signature(AWDLSTM).parameters.items())[1:]}
    assert ours == dict(emb_size=400, n_hid=1152, n_layers=3, pad_idx=1, hidden_p=0.2, input_p=0.6, embed_p=0.1, weight_p=0.5, bidir=False)
    m = AWDLSTM(50, 6, 8, 3)
    assert [(r.module.input_size, r.module.hidden_size) for r in m.rnns] == [(6, 8), (8, 8), (8, 6)]
    assert [(r.module.input_size, r.module.hidden_size) for r in AWDLSTM(50, 6, 8, 2, bidir=True).rnns] == [(6, 4), (8, 3)]
    assert (m.input_dp.p, m.hidden_dp.p, m.encoder.embed_p, m.rnns[1].weight_p) == (0.6, 0.2, 0.1, 0.5)
    w = m.encoder.emb.weight
    assert not w[1].any() and w[2:].abs().max() <= 0.1 and w[2:].std() > 0.04 and w.requires_grad
    assert AWDLSTM(50, 6, pad_idx=None).encoder.emb.weight[1].any()


def test_errors_at_the_door():
    for cls in (RNNDropout, lambda p: EmbeddingDropout(nn.Embedding(3, 2), p), lambda p: WeightDropout(LSTM(2, 2), p)):
        for p in (-0.1, 1.1, 50, True, '0.5', None, math.nan):
            with expect_fail(ValueError, 'must be in 0..1'): cls(p)
    for kw, message in ((dict(embed_p=2), 'embed_p is the share'), (dict(n_layers=0), 'n_layers'), (dict(emb_size=5, bidir=True), 'both must be even')):
        with expect_fail(ValueError, message): AWDLSTM(**(dict(vocab_size=9) | kw))
    AWDLSTM(9, 4, n_hid=5, n_layers=1, bidir=True)
    with expect_fail(ValueError, 'even'): AWDLSTM(9, 4, n_hid=5, n_layers=2, bidir=True)
    for m in (nn.LSTM(2, 2), nn.Linear(2, 2), QRNN(2, 2)):
        with expect_fail(TypeError, 'take weights for one call'): WeightDropout(m)
    with expect_fail(ValueError, "layer_names has ['nope']"): WeightDropout(LSTM(2, 2), 0.5, ['nope', 'weight_hh_l0'])
    m = AWDLSTM(9, 4, n_layers=1)
    m(torch.ones(3, 2, dtype=torch.int64))
    with expect_fail(ValueError, 'ids has 2 rows, but the state is that of 3: call reset()'): m(torch.ones(2, 2, dtype=torch.int64))
    m.reset()
    m(torch.ones(2, 2, dtype=torch.int64))
    x, w, y = torch.randn(4, 3), torch.randn(5, 3), torch.randint(5, (4,))
    for args, message in (((x[0], w, y), 'expected (n,d) and (c,d)'), ((x, w.T, y), 'expected (n,d)'), ((x, w, y[:3]), 'expected int64 of shape (4,)'),
                          ((x, w, y.float()), 'float32'), ((x[:0], w, y[:0]), 'at least one')):
        with expect_fail(ValueError, message): linear_cross_entropy(*args)
    for bad in (dict(alpha=-1), dict(beta=math.inf), dict(alpha=math.nan), dict(beta='1')):
        with expect_fail(ValueError, 'is the weight of a penalty'): RNNRegularizerCB(**bad)


@settings(max_examples=60)
@given(st.integers(1, 20), st.integers(1, 9), sizes, st.integers(1, 60), flags, seeds)
def test_linear_cross_entropy_is_the_composition(n, c, d, chunk, bias, seed):
    torch.manual_seed(seed)
    x, w, y = torch.randn(n, d).double().requires_grad_(), torch.randn(c, d).double().requires_grad_(), torch.randint(c, (n,))
    b = torch.randn(c).double().requires_grad_() if bias else None
    inputs = [a for a in (x, w, b) if a is not None]
    with patch.dict(awd._CHUNK, cpu=chunk): ours = linear_cross_entropy(x, w, y, b)
    theirs = F.cross_entropy(F.linear(x, w, b), y)
    assert ours.dtype == theirs.dtype
    assert_close(ours, theirs)
    for how in (lambda v: v, lambda v: -3*v**2): assert_close(*(torch.autograd.grad(how(v), inputs, retain_graph=True) for v in (ours, theirs)))


def test_linear_cross_entropy_holds_little_and_survives_extremes():
    x, w, y = torch.randn(64, 8, requires_grad=True), torch.randn(1000, 8, requires_grad=True), torch.randint(1000, (64,))
    kept = []
    with patch.dict(awd._CHUNK, cpu=4000), torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.numel()) or t, lambda t: t):
        loss = linear_cross_entropy(x, w, y)
    assert sum(kept) == x.numel() + w.numel()
    with torch.no_grad(): assert_close(linear_cross_entropy(x, w, y), loss)
    loss = linear_cross_entropy(x*1e4, w, y)
    assert_close(loss, F.cross_entropy(F.linear(x*1e4, w), y))
    assert torch.isfinite(torch.autograd.grad(loss, x)[0]).all()
    with patch.dict(awd._CHUNK, cpu=16_000): half = linear_cross_entropy(x.detach().bfloat16(), w, y)  # in four chunks
    for a, b in zip(torch.autograd.grad(half, [w]), torch.autograd.grad(F.cross_entropy(F.linear(x.detach(), w), y), [w])):
        assert a.dtype == torch.float32
        assert_close(a, b, rtol=0.1, atol=2e-3)
    with torch.autocast('cpu', torch.bfloat16): assert_close(linear_cross_entropy(x, w, y), F.cross_entropy(F.linear(x.float(), w).float(), y), rtol=0.02, atol=0.02)
    with pytest.raises((RuntimeError, IndexError)): linear_cross_entropy(x, w, y + 1000)


def small(tie=True, bias=True, p=0.3, seed=0, **kw):
    torch.manual_seed(seed)
    return LanguageModel(AWDLSTM(30, 6, 8, 2, **kw), p, tie, bias)


@given(flags, flags, seeds)
def test_the_head_in_training_and_evaluation(tie, bias, seed):
    m, ids, y = small(tie, bias, seed=seed).double(), torch.randint(30, (3, 5)), torch.randint(30, (3, 5))
    def how(loss): m.reset(); return loss(m(ids))
    def plain(o): return F.cross_entropy((o.dropped @ m.decoder.weight.T + (m.decoder.bias if bias else 0)).flatten(0, 1), y.flatten())
    a, b = both(seed, lambda: how(lambda o: lm_loss(o, y)), lambda: how(plain))
    assert_close(a, b)
    for g, e in zip(*(torch.autograd.grad(v, list(m.parameters())) for v in (a, b)), strict=True): assert_close(g, e)
    assert (m.decoder.weight is m.encoder.encoder.emb.weight) == tie and (m.decoder.bias is not None) == bias
    m.eval().reset()
    logits = m(ids)
    assert logits.shape == (3, 5, 30)
    assert_close(lm_loss(logits, y), cross_entropy(logits.transpose(1, 2), y))
    m.reset()
    o = LMOutput(m.encoder(ids), None, m.decoder.weight, m.decoder.bias)
    assert_close(o.logits(), logits)
    m.reset()
    assert m.state is None and m.encoder.state is None
    assert_close(lm_loss.activation(logits).sum(2), torch.ones(3, 5).double())


def test_output_dropout_is_the_same_over_time_and_raw_is_before_it():
    m = small(p=0.5)
    o = m(torch.randint(30, (4, 7)))
    kept = o.dropped != 0
    assert (kept == kept[:, :1]).all() and 0 < kept.float().mean() < 1
    assert_close(o.dropped, o.raw*2*kept)
    copies = copy.deepcopy(m), pickle.loads(pickle.dumps(m))
    for c in copies: assert c.decoder.weight is c.encoder.encoder.emb.weight
    if (b := small(bias=True).decoder.bias) is not None: assert not b.any()
    assert small(tie=False).decoder.weight.abs().max() <= 0.1


def one_batch(): g = torch.Generator().manual_seed(0); return torch.randint(30, (4, 6), generator=g), torch.randint(30, (4, 6), generator=g)


def fit(cbs=(), n=1, alpha=None, metrics=None, **kw):
    m, b = small(**kw), one_batch()
    reg = [] if alpha is None else [RNNRegularizerCB(*alpha)]
    learn = Learner(m, ([b]*n, [b]), lm_loss, 0.1, cbs=[ResetCB(), *reg, *cbs], metrics=metrics, device='cpu')
    torch.manual_seed(5)
    with learn.no_progress(): learn.fit(1)
    return learn


class LossCB(Callback):
    "What is differentiated: the loss after the callbacks of order 55."
    order = 56
    def __init__(self): self.train, self.valid = [], []
    def after_loss(self, learn): (self.train if learn.training else self.valid).append((learn.loss.item(), learn.preds))


@pytest.mark.parametrize('alpha,beta', [(2., 1.), (0., 3.), (1.5, 0.), (0., 0.)])
def test_ar_and_tar(alpha, beta):
    seen = LossCB()
    learn = fit([seen], alpha=(alpha, beta))
    loss, o = seen.train[0]
    h, d, (n, t, k) = o.raw.detach(), o.dropped.detach(), o.raw.shape
    jumps = sum(((h[i, j + 1] - h[i, j])**2).sum() for i in range(n) for j in range(t - 1))/(n*(t - 1)*k)
    assert math.isclose(loss, learn.recorder.losses[0] + alpha*(d**2).sum()/(n*t*k) + beta*jumps, rel_tol=1e-5)
    plain = fit()
    assert learn.recorder.losses == plain.recorder.losses
    same = all(torch.equal(a, b) for a, b in zip(learn.model.parameters(), plain.model.parameters()))
    assert same == (alpha == beta == 0)
    assert seen.valid[0][0] == learn.validate().valid_loss


def test_tar_of_one_column_and_of_no_language_model():
    ids = torch.randint(30, (4, 1))
    learn = Learner(small(), ([(ids, ids)], None), lm_loss, cbs=[ResetCB(), RNNRegularizerCB()], device='cpu')
    with learn.no_progress(): learn.fit(1)
    assert math.isfinite(learn.recorder.losses[0])
    assert all(torch.isfinite(p).all() for p in learn.model.parameters())
    learn = Learner(nn.Linear(2, 3), ([(torch.randn(4, 2), torch.randint(3, (4,)))], None), cross_entropy, cbs=RNNRegularizerCB(), device='cpu')
    with learn.no_progress(), expect_fail(TypeError, 'needs the LMOutput'): learn.fit(1)


def test_with_accumulation_and_half_precision():
    whole, halves = fit(alpha=(2., 1.), p=0., hidden_p=0., input_p=0., embed_p=0., weight_p=0.), small(p=0., hidden_p=0., input_p=0., embed_p=0., weight_p=0.)
    x, y = one_batch()
    class FreshCB(Callback):
        def before_batch(self, learn): learn.model.reset()
    learn = Learner(halves, ([(x[:2], y[:2]), (x[2:], y[2:])], None), lm_loss, 0.1, cbs=[FreshCB(), RNNRegularizerCB(2., 1.), GradientAccumulationCB(4)], device='cpu')
    with learn.no_progress(): learn.fit(1)
    for a, b in zip(whole.model.parameters(), learn.model.parameters(), strict=True): assert_close(a, b, rtol=1e-4, atol=1e-6)
    seen = LossCB()
    half = fit([MixedPrecisionCB('bf16'), seen], alpha=(2., 1.))
    assert math.isclose(half.recorder.losses[0], fit(alpha=(2., 1.)).recorder.losses[0], rel_tol=0.02)
    assert all(p.dtype == torch.float32 for p in half.model.parameters())


def test_metrics_in_training():
    def words(o, y): return accuracy((o.logits() if isinstance(o, LMOutput) else o).flatten(0, 1), y.flatten())
    learn = fit([Recorder(train_metrics=True)], metrics=words)
    assert 0 <= learn.recorder.rows[0]['train_words'] <= 1
    with expect_fail(TypeError, 'expected a tensor of floats'): fit([Recorder(train_metrics=True)], metrics=accuracy)


def test_reset_at_both_ends_of_each_pass():
    calls, states = [], []
    class SeeCB(Callback):
        order = 1
        def before_epoch(self, learn): calls.append(learn.model.state)
        def after_predict(self, learn): states.append(learn.model.state)
        def after_epoch(self, learn): calls.append(learn.model.state)
    learn = fit([SeeCB()], n=3)
    assert calls[0] is None and calls[1] is not None and calls[2] is None and learn.model.state is None
    assert not torch.equal(states[0][0][0], states[1][0][0])
    learn.validate()
    assert learn.model.state is None
    with expect_fail(TypeError, 'needs a model with a method reset'): Learner(nn.Linear(2, 2), ([one_batch()], None), lm_loss, cbs=ResetCB(), device='cpu').fit(1)


class Killed(Exception): pass
class KillCB(Callback):
    order = 99
    def __init__(self, at): self.at, self.n = at, 0
    def after_batch(self, learn):
        self.n += learn.training
        if self.n == self.at: raise Killed


def resumable(folder, cbs=(), resume=False):
    docs = [torch.randint(10, 30, (50,), generator=torch.Generator().manual_seed(i)) for i in range(8)]
    dls = LMDataLoader(docs, 4, 10, seed=3), LMDataLoader(docs[:3], 4, 10, shuffle=False, vary=False)
    return Learner(small(), dls, lm_loss, 0.5, opt_func=torch.optim.Adam, cbs=[ResetCB(), RNNRegularizerCB(), CheckpointCB(folder, every=3, resume=resume), *cbs], device='cpu')


@pytest.mark.parametrize('at', [4, 10, 14])
def test_killed_and_resumed_is_bit_for_bit(tmp_path, at):
    whole = resumable(tmp_path/'a')
    torch.manual_seed(1)
    with whole.no_progress(): whole.fit(2, 0.01)
    assert len(whole.dls.train) > 8
    killed = resumable(tmp_path/'b', [KillCB(at)])
    torch.manual_seed(1)
    with killed.no_progress(), expect_fail(Killed): killed.fit(2, 0.01)
    again = resumable(tmp_path/'b', resume=True)
    torch.manual_seed(99)
    with again.no_progress(): again.fit(2, 0.01)
    for a, b in zip(whole.model.parameters(), again.model.parameters(), strict=True): assert torch.equal(a, b)
    assert whole.recorder.losses[-3:] == again.recorder.losses[-3:]
    assert [r['valid_loss'] for r in whole.recorder.rows][-1] == again.recorder.rows[-1]['valid_loss']


def test_saved_and_loaded_with_a_tie(tmp_path):
    learn = fit()
    path, other = learn.save(tmp_path/'lm'), small(seed=9)
    Learner(other, ([one_batch()], None), lm_loss, device='cpu').load(path)
    assert other.decoder.weight is other.encoder.encoder.emb.weight
    assert_close(other.eval()(one_batch()[0]), learn.model.eval()(one_batch()[0]))


def fastai():
    from fastai.text.models import awdlstm, core
    return awdlstm, core


def test_fastais_model_with_its_weights_and_masks():
    awdlstm, core = or_skip(fastai)
    p = dict(hidden_p=0.15, input_p=0.25, embed_p=0.1, weight_p=0.2)
    theirs = core.get_language_model(awdlstm.AWD_LSTM, 30, awdlstm.awd_lstm_lm_config | p | dict(emb_sz=6, n_hid=8, n_layers=2, output_p=0.3)).double()
    ours = LanguageModel(AWDLSTM(30, 6, 8, 2, **p), 0.3).double()
    names = [('encoder.encoder.emb.', '0.encoder.'), ('encoder.rnns.', '0.rnns.'), ('decoder.', '1.decoder.')]
    def theirs_of(k):
        k = next(b + k.removeprefix(a) for a, b in names if k.startswith(a))
        return k.replace('module.weight_hh_l0', 'weight_hh_l0_raw')
    params = dict(theirs.named_parameters(remove_duplicate=False))
    ours.load_state_dict({k: params[theirs_of(k)] for k in ours.state_dict()})
    batches = torch.randint(30, (2, 3, 5))
    def run(model): model.reset(); return [model(ids) for ids in batches]
    for a, (logits, raw, dropped) in zip(*both(3, lambda: run(ours), lambda: run(theirs)), strict=True):
        for u, v in ((a.raw, raw), (a.dropped, dropped), (a.logits(), logits)): assert_close(u, v)
        y = batches[0]
        mine = torch.autograd.grad(lm_loss(a, y), list(ours.parameters()))
        other = torch.autograd.grad(F.cross_entropy(logits.flatten(0, 1), y.flatten()), [params[theirs_of(k)] for k, _ in ours.named_parameters()])
        for g, e in zip(mine, other, strict=True): assert_close(g, e)
    ours.eval(), theirs.eval()
    for a, b in zip(run(ours), run(theirs), strict=True): assert_close(a, b[0])
