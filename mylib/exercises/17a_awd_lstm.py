"Lesson 17a: AWD-LSTM."
import math, re
from types import SimpleNamespace
from unittest.mock import patch

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from mylib.judge import call, case, entry, randn


class Largest(TorchDispatchMode):
    "The number of elements of the largest result of any operation."
    numel = 0
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for o in out if isinstance(out, (list, tuple)) else [out]:
            if isinstance(o, torch.Tensor): self.numel = max(self.numel, o.numel())
        return out


class Counter(nn.Module):
    "A model that writes down when it is called and when it is reset."
    def __init__(self):
        super().__init__()
        self.w, self.log, self.state = nn.Parameter(torch.zeros(())), [], None
    def reset(self): self.log.append('reset'); self.state = None
    def forward(self, x):
        self.log.append('train' if self.training else 'valid')
        self.state = x
        return x*self.w

def reading(m, model=None, train=2, valid=1, cbs=()):
    "A Learner with batches of two numbers."
    from mylib.learner import Learner
    batches = [(torch.ones(2), torch.zeros(2))]*max(train, valid)
    return Learner(model or Counter(), (batches[:train], batches[:valid]), lambda p, t: (p - t).square().mean(), 0.1, cbs=[m.ResetCB(), *cbs], device='cpu')

def around_each_pass(m):
    learn = reading(m)
    with learn.no_progress(): learn.fit(2)
    return re.sub('r+', 'r', ''.join(o[0] for o in learn.model.log))

def not_between_batches(m):
    learn = reading(m, train=4)
    with learn.no_progress(): learn.fit(1)
    log = ''.join(o[0] for o in learn.model.log)
    return 'tttt' in log

def validated(m):
    learn = reading(m)
    with learn.no_progress(): learn.validate()
    return dict(first=learn.model.log[0], last=learn.model.log[-1])

def nothing_stays(m):
    learn = reading(m)
    with learn.no_progress(): learn.fit(1)
    return learn.model.state

def after_an_error(m):
    from mylib.learner import Callback
    class FailCB(Callback):
        def after_loss(self, learn): raise ZeroDivisionError
    learn = reading(m, cbs=[FailCB()])
    try:
        with learn.no_progress(): learn.fit(1)
    except ZeroDivisionError: pass
    return dict(last=learn.model.log[-1], state=learn.model.state)

def the_state_is_kept(m):
    cb, model = m.ResetCB(), Counter()
    cb.before_fit(SimpleNamespace(model=model))
    model.state = [(torch.tensor([1.]), torch.tensor([2.]))]
    saved = cb.state_dict()
    other, cb2 = Counter(), m.ResetCB()
    cb2.before_fit(SimpleNamespace(model=other))
    cb2.load_state_dict(saved)
    return dict(saved=saved, loaded=other.state)

def no_state_to_load(m):
    cb, model = m.ResetCB(), Counter()
    cb.before_fit(SimpleNamespace(model=model))
    saved = cb.state_dict()
    cb.load_state_dict(saved)
    return [saved, model.state]

def a_model_without_state(m):
    class Bare(nn.Module):
        def reset(self): pass
    cb = m.ResetCB()
    cb.before_fit(SimpleNamespace(model=Bare()))
    return cb.state_dict()

def cannot_be_reset(m): m.ResetCB().before_fit(SimpleNamespace(model=nn.Linear(2, 2)))

def found_at_the_start(m):
    learn = reading(m, model=nn.Linear(2, 2))
    with learn.no_progress(): learn.fit(1)

@entry('17a.1', level=1, minutes=15, hints=[
    'A state must not go from training texts to validation texts. At which events of a pass is it to be forgotten, and which of them happen even if the pass breaks off?',
    'Before each pass and in its clean-up: `before_epoch` and `cleanup_epoch` exist for training and for validation passes alike. In between, nothing: the state is there to be handed on.',
    '`before_fit` looks for a `reset` that can be called, refuses a model without one (TypeError), and keeps the model, because `state_dict` and `load_state_dict` are not given the Learner. They are about the key `state`, None where there is none; `to_device` brings what was saved to where the parameters are.'],
    why='Resetting in the clean-up as well leaves no state behind that the next user of the model would read on from, also after an error. A checkpoint in mid-epoch must hold the state, or the continuation would read the middle of a text as if it were a beginning, and would not be bit for bit the same.')
def reset_cb():
    at = (Counter, reading)
    return [case('reset at the beginning and at the end of each pass', around_each_pass, also=at),
            case('not between the batches', not_between_batches, also=at),
            case('also around a validation by itself', validated, also=at),
            case('after the fit nothing is remembered', nothing_stays, also=at),
            case('after an error neither', after_an_error, also=at),
            case("a checkpoint keeps the model's state", the_state_is_kept, also=Counter),
            case('where there is no state, None is kept, and loading it changes nothing', no_state_to_load, also=Counter),
            case('a model that has no attribute state', a_model_without_state),
            case('a model without reset is refused, with its kind', cannot_be_reset, raises=TypeError, names=('reset', 'Linear')),
            case('when the fit begins', found_at_the_start, raises=TypeError, names='reset', also=at)]


def nothing_dropped(m): return m.RNNDropout(0.)(randn(2, 3, 4)), m.RNNDropout(0.9).eval()(randn(2, 3, 4))
def all_dropped(m): return m.RNNDropout(1.)(randn(2, 3, 4))
def eval_is_x(m):
    x = randn(2, 3, 4)
    return m.RNNDropout(0.5).eval()(x) is x

def values_left(m): return m.RNNDropout(0.75)(torch.ones(20, 3, 30)).unique()

def over_time(m):
    out = m.RNNDropout(0.5)(torch.ones(20, 7, 30))
    return {'the same at all steps': bool((out == out[:, :1]).all())}

def over_rows(m):
    out = m.RNNDropout(0.5)(torch.ones(20, 7, 30))[:, 0]
    return {'rows differ': len(out.unique(dim=0)) == 20, 'features differ': len(out.unique(dim=1).T) == 30}

def how_many(m): return m.RNNDropout(0.2)(torch.ones(300, 2, 300)).eq(0).float().mean()
def mean_stays(m): return m.RNNDropout(0.2)(torch.ones(300, 2, 300)).mean()

def new_each_call(m):
    drop, x = m.RNNDropout(0.5), torch.ones(4, 2, 30)
    return torch.equal(drop(x), drop(x))

def dropout_gradient(m):
    x = randn(4, 3, 20).requires_grad_()
    out = m.RNNDropout(0.5)(x)
    g, = torch.autograd.grad(out.sum(), x)
    return {'it is the mask': torch.allclose(g*x, out), 'zeros in it': bool((g == 0).any())}

def half_precision(m): return m.RNNDropout(0.5)(torch.ones(2, 3, 4, dtype=torch.bfloat16)).dtype
def too_much(m): m.RNNDropout(50)
def shows_p(m): return {'the settings of RNNDropout(0.3) hold 0.3': '0.3' in m.RNNDropout(0.3).extra_repr(), 'p': m.RNNDropout(0.3).p, 'default': m.RNNDropout().p}

@entry('17a.2', level=2, minutes=12, hints=[
    'Which shape must the mask have, so that it is the same at all steps and another one for each row and feature?',
    'A mask (n,1,d) is broadcast over the steps. It holds 0 with probability p and 1/(1-p) otherwise. How do you get it without 0/0 at p = 1?',
    '`F.dropout` of ones makes such a mask and knows about p = 1; `x.new_ones` gives ones of the type and on the device of x. In eval mode x goes through untouched. `_share` checks p.'],
    why='F.dropout of a small tensor of ones draws n times d numbers instead of n times t times d, and keeps the ends of the interval right. new_ones takes dtype and device from x, so that nothing has to be said about half precision or a GPU.')
def rnn_dropout():
    return [case('with p of 0, and in eval mode, x comes through', nothing_dropped),
            case('with p of 1 everything is zero, and nothing is nan', all_dropped),
            case('what is kept is divided by 1 - p', values_left),
            case('one mask for all steps', over_time),
            case('a mask of its own for each row and feature', over_rows),
            case('a share p is dropped', how_many, atol=0.01),
            case('the mean stays', mean_stays, atol=0.02),
            case('a new mask in each call', new_each_call),
            case('the gradient goes through the same mask', dropout_gradient),
            case('in eval mode it is x itself, and no copy', eval_is_x),
            case('the type of x is kept', half_precision),
            case('the settings are kept and shown', shows_p),
            case('a share above 1 is refused', too_much, raises=ValueError, names='50')]


def emb_drop(m, p, n=50, d=4):
    emb = nn.Embedding(n, d)
    with torch.no_grad(): emb.weight.copy_(1 + torch.rand(n, d, generator=torch.Generator().manual_seed(0)))
    return m.EmbeddingDropout(emb, p)

def words_in_eval(m): return emb_drop(m, 0.5).eval()(torch.tensor([[3, 4], [3, 49]])), emb_drop(m, 0.)(torch.tensor([3, 4]))
def no_words(m): return emb_drop(m, 1.)(torch.tensor([[3, 4], [3, 49]]))

def word_by_word(m):
    net, ids = emb_drop(m, 0.5), torch.arange(50)
    return (net(ids)/net.emb(ids)).unique()

def whole_words(m):
    net, ids = emb_drop(m, 0.5), torch.arange(50)
    kept = net(ids) != 0
    return {'all features or none': bool((kept == kept[:, :1]).all())}

def wherever_it_occurs(m):
    ids = torch.arange(50).repeat(6, 1)
    out = emb_drop(m, 0.5)(ids)
    return {'the same in all rows': bool((out == out[:1]).all()), 'some dropped, some not': 0 < int((out[0, :, 0] == 0).sum()) < 50}

def share_of_words(m): return emb_drop(m, 0.2, n=20_000, d=1)(torch.arange(20_000)).eq(0).float().mean()

def other_words_next_time(m):
    net, ids = emb_drop(m, 0.5), torch.arange(50)
    return torch.equal(net(ids), net(ids))

def table_stays(m):
    net = emb_drop(m, 0.5)
    before = net.emb.weight.detach().clone()
    net(torch.arange(50))
    return dict(unchanged=torch.equal(net.emb.weight, before), parameters=[n for n, _ in net.named_parameters()])

def table_gradient(m):
    net, ids = emb_drop(m, 0.5), torch.arange(50).repeat(2)
    out = net(ids)
    g, = torch.autograd.grad(out.sum(), net.emb.weight)
    return {'zero for dropped words, 2/(1-p) for the others': torch.allclose(g, (out[:50] != 0)*4.)}

def shapes(m): return [tuple(emb_drop(m, 0.5)(torch.zeros(s, dtype=torch.int64)).shape) for s in ((), (3,), (2, 3), (2, 3, 5))]

def few_of_many(m):
    net = emb_drop(m, 0.5, n=5000, d=40)
    with Largest() as largest: net(torch.tensor([[1, 2], [3, 4]]))
    return {'something as large as the table was computed': largest.numel >= 5000*40}

def no_share(m): emb_drop(m, -0.1)
def shows_embed_p(m):
    emb = nn.Embedding(5, 2)
    net = m.EmbeddingDropout(emb, 0.3)
    return {'the settings hold 0.3': '0.3' in net.extra_repr(), 'embed_p': net.embed_p, 'default': m.EmbeddingDropout(emb).embed_p, 'emb is the table': net.emb is emb}

@entry('17a.3', level=2, minutes=15, hints=[
    'The version above multiplies the whole table by a mask (c,1) and looks up the rows. Which of these two steps can come first?',
    'Look up the words in the table, and look up the same words in the mask. Then only what occurs in the batch is multiplied.',
    'A mask with one number for each word of the vocabulary, from `F.dropout` of ones (c,1), indexed by `ids` itself: that gives (...,1) and lines up with the vectors. In eval mode the table alone.'],
    why='A row looked up and then multiplied is the same number as one multiplied and then looked up, but costs as much as the batch and not as much as the language. One number for each word makes a word vanish everywhere at once.')
def embedding_dropout():
    return [case('with embed_p of 0, and in eval mode, it is the table', words_in_eval, also=emb_drop),
            case('with embed_p of 1 every word is zero', no_words, also=emb_drop),
            case('a word is zero or divided by 1 - p', word_by_word, also=emb_drop),
            case('words are dropped whole', whole_words, also=emb_drop),
            case('a word that is dropped is dropped wherever it occurs', wherever_it_occurs, also=emb_drop),
            case('a share embed_p of the words is dropped', share_of_words, atol=0.02, also=emb_drop),
            case('other words in the next call', other_words_next_time, also=emb_drop),
            case('the table stays as it is, and is the only parameter', table_stays, also=emb_drop),
            case('the gradient goes to the words that were kept', table_gradient, also=emb_drop),
            case('ids of any shape', shapes, also=emb_drop),
            case('only the words that occur are worked on', few_of_many, also=emb_drop),
            case('the settings are kept and shown', shows_embed_p),
            case('a negative share is refused', no_share, raises=ValueError, names='embed_p', also=emb_drop)]


def spy(m, kind, *args, **kwargs):
    "A recurrent layer that writes down with which weights it computes, if they are others than its own."
    from mylib import rnn
    class Spy(getattr(rnn, kind)):
        seen = ()
        def forward(self, x, state=None, weights=None):
            used = dict(self.named_parameters()) | (weights or {})
            self.seen = (*self.seen, {k: w.detach().clone() for k, w in used.items() if not torch.equal(w, self.full[k])})
            return super().forward(x, state, weights)
    torch.manual_seed(0)
    layer = Spy(*args, **kwargs)
    layer.full = {k: p.detach().clone() for k, p in layer.named_parameters()}
    return layer

def in_eval(m):
    layer, x = spy(m, 'LSTM', 3, 4), randn(2, 5, 3)
    state = randn(1, 2, 4, seed=1), randn(1, 2, 4, seed=2)
    return m.WeightDropout(layer, 0.9).eval()(x), m.WeightDropout(layer, 0.)(x), m.WeightDropout(layer, 0.9).eval()(x, state)

def all_weights(m):
    layer = spy(m, 'LSTM', 3, 4)
    state = randn(1, 2, 4, seed=1), randn(1, 2, 4, seed=2)
    return m.WeightDropout(layer, 1.)(randn(2, 5, 3), state)

def which_weights(m):
    two = spy(m, 'GRU', 3, 4, 2, bidirectional=True)
    m.WeightDropout(two)(randn(2, 5, 3))
    return {k: tuple(w.shape) for k, w in sorted(two.seen[0].items())}

def chosen_weights(m):
    out = []
    for names in ('weight_ih_l0', ['weight_hh_l1'], ('weight_ih_l0', 'weight_ih_l1')):
        layer = spy(m, 'RNN', 3, 4, 2)
        m.WeightDropout(layer, 0.5, names)(randn(2, 5, 3))
        out.append(sorted(layer.seen[0]))
    return out

def dropped_values(m):
    layer = spy(m, 'LSTM', 3, 10)
    m.WeightDropout(layer, 0.75)(randn(2, 5, 3))
    return (layer.seen[0]['weight_hh_l0']/layer.full['weight_hh_l0']).round(decimals=3).unique()

def share_of_weights(m):
    layer = spy(m, 'RNN', 3, 300)
    m.WeightDropout(layer, 0.2)(randn(2, 5, 3))
    return layer.seen[0]['weight_hh_l0'].eq(0).float().mean()

def masks_of_calls(m):
    layer = spy(m, 'LSTM', 3, 10)
    drop = m.WeightDropout(layer, 0.5)
    drop(randn(2, 5, 3)); drop(randn(2, 5, 3))
    return torch.equal(layer.seen[0]['weight_hh_l0'], layer.seen[1]['weight_hh_l0'])

def parameters_stay(m):
    layer = spy(m, 'LSTM', 3, 4)
    before, drop = {k: v.clone() for k, v in layer.state_dict().items()}, m.WeightDropout(layer, 0.5)
    drop(randn(2, 5, 3))
    return dict(names=list(drop.state_dict()), unchanged=all(torch.equal(v, before[k]) for k, v in layer.state_dict().items()),
                parameters=[n for n, _ in drop.named_parameters()])

def weight_gradient(m):
    layer = spy(m, 'LSTM', 3, 4)
    m.WeightDropout(layer, 0.5)(randn(2, 5, 3))[0].square().sum().backward()
    used, g = layer.seen[0]['weight_hh_l0'], layer.weight_hh_l0.grad
    return None if g is None else {'zero where dropped': not g[used == 0].any(), 'arrives elsewhere': bool(g[used != 0].all())}

def then_evaluated(m):
    layer, x = spy(m, 'LSTM', 3, 4), randn(2, 5, 3)
    drop = m.WeightDropout(layer, 0.5)
    drop(x)
    return dict(inner=layer(x)[0], outer=drop.eval()(x)[0])

def of_torch(m): m.WeightDropout(nn.LSTM(3, 4), 0.5)
def unknown_weight(m): m.WeightDropout(spy(m, 'LSTM', 3, 4), 0.5, ['weight_hh_l0', 'weight_hh_l7'])
def prefix_alone(m): m.WeightDropout(spy(m, 'LSTM', 3, 4), 0.5, 'weight_hh')
def too_many_weights(m): m.WeightDropout(spy(m, 'LSTM', 3, 4), 1.5)
def shows_weight_p(m):
    drop = m.WeightDropout(spy(m, 'LSTM', 3, 4), 0.3)
    return {'the settings hold 0.3': '0.3' in drop.extra_repr(), 'weight_p': drop.weight_p, 'layer_names': list(drop.layer_names)}

@entry('17a.4', level=2, minutes=25, hints=[
    'The trick above overwrites what the layer owns. Lesson 17 gave the layers an argument `weights=`: what would you hand over there, and when?',
    'In training, a dict from each name in `layer_names` to `F.dropout` of the layer\'s parameter of that name, new in each call. In eval mode, and with a share of 0, call the layer without it.',
    'In the constructor: a TypeError unless the module is a `_Recurrent`; the names default to the parameters that begin with weight_hh, a single string becomes a list, and names that the layer has not are a ValueError that names them. Set the attributes after `super().__init__()`; the state goes through to the layer.'],
    why='An argument of one call leaves nothing behind: no stale copy, no renamed parameter, no graph that hangs on the module, and so nothing to repair in eval mode. The gradient finds its way to the parameter by itself, because F.dropout is part of the graph.')
def weight_dropout():
    return [case('in eval mode, and with a share of 0, it is the layer, state included', in_eval, also=spy),
            case('with a share of 1 the state has no influence through the dropped weights', all_weights, also=spy),
            case('by default all weights that act on the state are dropped, of all layers and directions', which_weights, also=spy),
            case('layer_names chooses others: one name or several', chosen_weights, also=spy),
            case('a weight is zero or divided by 1 - p', dropped_values, also=spy),
            case('a share weight_p is dropped', share_of_weights, atol=0.02, also=spy),
            case('a new mask in each call', masks_of_calls, also=spy),
            case('the parameters keep their names and values', parameters_stay, also=spy),
            case('the gradient arrives at the parameter, zero where it was dropped', weight_gradient, also=spy),
            case('after training, both the layer inside and the whole compute with the full weights', then_evaluated, also=spy),
            case('the settings are kept and shown', shows_weight_p, also=spy),
            case("a layer of PyTorch's is refused, with its type", of_torch, raises=TypeError, names='LSTM'),
            case('a name that the layer has not is refused', unknown_weight, raises=ValueError, names='weight_hh_l7', also=spy),
            case('the beginning of a name is refused', prefix_alone, raises=ValueError, names='layer_names', also=spy),
            case('a share above 1 is refused', too_many_weights, raises=ValueError, names='weight_p', also=spy)]


IDS = torch.tensor([[3, 4, 5, 6], [7, 8, 3, 9]])

def net(m, **kwargs):
    "A small encoder, without dropout unless it is asked for, with weights that do not depend on how it draws them."
    kwargs = dict(hidden_p=0., input_p=0., embed_p=0., weight_p=0., n_layers=2) | kwargs
    enc = m.AWDLSTM(10, 4, 6, **kwargs)
    with torch.no_grad():
        for i, (_, p) in enumerate(sorted(enc.named_parameters())): p.copy_(randn(*p.shape, seed=i)/2)
    return enc

def one_batch(m): return net(m)(IDS)
def three_layers(m): return net(m, n_layers=3)(IDS)
def one_layer(m): return net(m, n_layers=1)(IDS)
def two_ways(m): return net(m, bidir=True).eval()(IDS)

def tables(m):
    return {f'n_layers={k}': [(n, tuple(p.shape)) for n, p in m.AWDLSTM(10, 4, 6, k).named_parameters()] for k in (1, 3)}

def first_numbers(m):
    w, without = m.AWDLSTM(500, 40, 6, 2).encoder.emb.weight, m.AWDLSTM(500, 40, 6, 2, pad_idx=None).encoder.emb.weight
    return {'largest': w.abs().max(), 'mean size': w.abs().mean(), 'padding': w[1], 'without padding': bool(without[1].any())}

def padding_learns_nothing(m):
    enc = net(m, pad_idx=3)
    enc(IDS).sum().backward()
    return enc.encoder.emb.weight.grad.any(1)

def in_two_pieces(m):
    enc = net(m)
    return torch.cat([enc(IDS[:, :1]), enc(IDS[:, 1:])], 1)

def after_reset(m):
    enc = net(m)
    first = enc(IDS)
    enc.reset()
    return dict(state=enc.state, again=torch.equal(enc(IDS), first))

def kept_state(m):
    enc = net(m)
    enc(IDS)
    return [(h, c) for h, c in enc.state]

def cut_graph(m):
    enc = net(m)
    enc(IDS)
    flags = [s.requires_grad for pair in enc.state for s in pair]
    out = enc(IDS)
    g = torch.autograd.grad(out.square().sum(), [p for _, p in sorted(enc.named_parameters())])
    return dict(requires_grad=flags, gradients=list(g))

def without_input(m): return net(m, input_p=1.)(IDS)
def without_words(m): return net(m, embed_p=1.)(IDS)
def without_hidden(m): return net(m, hidden_p=1.)(IDS)
def hidden_of_three(m): return net(m, hidden_p=1., n_layers=3)(IDS)
def nothing_between(m): return net(m, hidden_p=1., n_layers=1)(IDS)
def without_recurrence(m): return net(m, weight_p=1.)(IDS)
def all_off(m): return net(m, hidden_p=0.9, input_p=0.9, embed_p=0.9, weight_p=0.9).eval()(IDS)
def two_ways_dropped(m): return net(m, weight_p=1., bidir=True)(IDS)

def no_state_kept(m):
    enc = net(m, bidir=True)
    first = enc(IDS)
    return dict(state=enc.state, again=torch.equal(first, enc(IDS)), other_rows=tuple(enc(IDS[:1]).shape))

def other_rows(m):
    enc = net(m)
    enc(IDS); enc(IDS[:1])

def odd_sizes(m): m.AWDLSTM(10, 5, 6, 2, bidir=True)
def odd_hidden(m): m.AWDLSTM(10, 4, 7, 2, bidir=True)
def odd_but_unused(m): return tuple(m.AWDLSTM(10, 4, 7, 1, bidir=True)(IDS).shape)
def no_vocabulary(m): m.AWDLSTM(0)
def no_layers(m): m.AWDLSTM(10, 4, 6, 0)

def default_shares(m):
    enc = m.AWDLSTM(5, 4, 6, 2)
    return [enc.input_dp.p, enc.hidden_dp.p, enc.encoder.embed_p, [r.weight_p for r in enc.rnns], enc.bidir]

@entry('17a.5', level=3, minutes=45, hints=[
    'Draw the way of a batch: words, embedding, input dropout, LSTM, hidden dropout, LSTM, and so on. Which sizes meet at each arrow, and where is there no dropout?',
    'An embedding (uniform in plus or minus 0.1, the row of the padding zero) in an `EmbeddingDropout`, kept as `self.encoder`; a ModuleList `self.rnns` of `WeightDropout`s, each around an LSTM of one layer: from emb_size to n_hid, between n_hid and n_hid, back to emb_size; `RNNDropout`s `input_dp` before the first and `hidden_dp` between them. The output has none.',
    'The state is None or a list of one (h, c) for each layer, detached with `apply_nested` at the end of forward, and not kept with bidir, where every LSTM has half of the features in each direction (so both sizes must be even, n_hid only if it is used). A batch with another number of rows than the state is a ValueError that says to call reset().'],
    why='Embedding and output have the same size so that a head can use one table for reading and writing. The state is cut off from its graph here, where it is kept, so that no caller can forget it. The output has no dropout of its own, since a language model and a classifier want it in different places.')
def awdlstm():
    return [case('the names and sizes of the parameters', tables),
            case('the embedding starts within plus or minus 0.1, its padding as zero', first_numbers, rtol=0.1, atol=0.002),
            case('one batch through two layers', one_batch, also=net),
            case('three layers, and one', three_layers, also=net),
            case('one layer alone has no hidden features', one_layer, also=net),
            case('two batches say the same as one long batch', in_two_pieces, also=net),
            case('the state: one (h, c) for each layer', kept_state, also=net),
            case('reset forgets what was read', after_reset, also=net),
            case('the gradient of the second batch ends at its beginning', cut_graph, also=net),
            case('input_p drops features of the embeddings', without_input, also=net),
            case('embed_p drops words', without_words, also=net),
            case('hidden_p drops between the layers', without_hidden, also=net),
            case('hidden_p drops between all layers', hidden_of_three, also=net),
            case('hidden_p does not touch the input, nor the output of the last layer', nothing_between, also=net),
            case('weight_p drops the weights that act on the state', without_recurrence, also=net),
            case('in eval mode nothing is dropped', all_off, also=net),
            case('the embedding of the padding gets no gradient', padding_learns_nothing, also=net),
            case('bidir reads in both directions, half of the features each', two_ways, also=net),
            case('with bidir, weight_p drops the weights of both directions', two_ways_dropped, also=net),
            case('with bidir no state is kept', no_state_kept, also=net),
            case("the defaults are fastai's", default_shares),
            case('a batch with another number of rows is refused, with what to do', other_rows, raises=ValueError, names='reset()', also=net),
            case('with bidir, an odd emb_size is refused', odd_sizes, raises=ValueError, names='emb_size'),
            case('with bidir, an odd n_hid is refused', odd_hidden, raises=ValueError, names='n_hid'),
            case('an odd n_hid that is not used is none of our business', odd_but_unused),
            case('an empty vocabulary is refused', no_vocabulary, raises=ValueError, names='vocab_size'),
            case('no layers are refused', no_layers, raises=ValueError, names='n_layers')]


def in_chunks(m):
    x, w, t, b = randn(13, 5, dtype=torch.float64).requires_grad_(), randn(7, 5, seed=1, dtype=torch.float64).requires_grad_(), torch.arange(13) % 7, randn(7, seed=2, dtype=torch.float64).requires_grad_()
    out = {}
    for chunk in (1, 28, 91, 1000):
        with patch.dict(m._CHUNK, cpu=chunk): loss = m.linear_cross_entropy(x, w, t, b)
        out[f'{chunk} scores at once'] = [loss, *torch.autograd.grad(loss, [x, w, b])]
    return out

def inside_another(m):
    x, w, t = randn(6, 5).requires_grad_(), randn(7, 5, seed=1).requires_grad_(), torch.arange(6)
    return list(torch.autograd.grad(3*m.linear_cross_entropy(x, w, t)**2, [x, w]))

def twice(m):
    x, w, t = randn(6, 5).requires_grad_(), randn(7, 5, seed=1).requires_grad_(), torch.arange(6)
    loss = m.linear_cross_entropy(x, w, t)
    first = torch.autograd.grad(loss, [x, w], retain_graph=True)
    return list(first), list(torch.autograd.grad(loss, [x, w]))

def far_behind(m): return m.linear_cross_entropy(torch.eye(2)[:1], torch.tensor([[200., 200.], [-200., -200.]]), torch.tensor([1]))

def mixed_types(m):
    x, w, b = randn(6, 5, dtype=torch.bfloat16).requires_grad_(), randn(7, 5, seed=1).requires_grad_(), randn(7, seed=2).requires_grad_()
    loss = m.linear_cross_entropy(x, w, torch.arange(6), b)
    return [loss, *torch.autograd.grad(loss, [x, w, b])]

def never_held(m):
    x, w, t = randn(2100, 4).requires_grad_(), randn(4096, 4, seed=1).requires_grad_(), torch.arange(2100)
    with Largest() as largest: m.linear_cross_entropy(x, w, t).backward()
    return {'all scores were held at once': largest.numel >= 2100*4096}

def kept_for_later(m):
    kept = []
    x, w, t = randn(100, 4).requires_grad_(), randn(64, 4, seed=1).requires_grad_(), torch.arange(100) % 64
    with torch.autograd.graph.saved_tensors_hooks(lambda o: kept.append(o.numel()) or o, lambda o: o), patch.dict(m._CHUNK, cpu=640): m.linear_cross_entropy(x, w, t)
    return {'more is kept than three times x and weight': sum(kept) > 3*(100*4 + 64*4)}

@entry('17a.6', level=3, minutes=60, hints=[
    'Write the forward pass for all rows at once first: scores, probabilities, loss, and the three gradients from the formulas above. What do you need of the probabilities once the gradients are there?',
    'Then cut x and targets into pieces of `_CHUNK[...]//c` rows (at least one). For each: scores, softmax, its part of the loss, minus one at the targets (`scatter_add_`), and the products that give dx of these rows and add to dw and db. Save dx, dw and db on ctx; the backward pass multiplies them by the gradient from above.',
    'The loss of a row is the largest score, minus the log of the largest probability, minus the score of the target: that stays finite. Divide by n where the mean belongs, in the loss and in the gradients. Products in the type of x, loss and softmax in float32 at least; the gradients have the types of what they belong to, and bias None has none. Reuse one piece of memory with `out=` when all else works.'],
    why='The gradient of a mean loss from above is a single number, so everything else about it can be known in the forward pass, while the probabilities are still in the cache. One buffer for all chunks, because memory asked for anew is fetched page by page again.')
def linear_cross_entropy():
    x, w, t, b = randn(6, 5), randn(7, 5, seed=1), torch.tensor([0, 6, 2, 2, 5, 1]), randn(7, seed=2)
    return [call('linear_cross_entropy', torch.zeros(1, 1), torch.zeros(2, 1), torch.tensor([0]), say='scores of 0 for two classes cost log 2'),
            call('linear_cross_entropy', x, w, t, say='the mean over the rows, without a bias'),
            call('linear_cross_entropy', x, w, t, b, say='with a bias'),
            call('linear_cross_entropy', x, w, t, say='the gradients of x and weight', grad=True),
            call('linear_cross_entropy', x, w, t, b, say='the gradients of x, weight and bias', grad=True),
            case('inside a larger loss, the gradient from above is passed on', inside_another),
            case('a gradient can be asked for twice', twice),
            case('any size of the chunks gives the same, also one that does not divide the rows', in_chunks),
            case('a target whose probability rounds to zero has a finite loss', far_behind),
            call('linear_cross_entropy', 100*x, w, t, b, say='large scores do not overflow', grad=True),
            case('vectors in bfloat16: loss and gradients of the parameters in float32', mixed_types, rtol=3e-2, atol=3e-2),
            case('the scores of all rows are never there at once', never_held),
            case('no probabilities are kept for the backward pass', kept_for_later)]


def small_lm(m, output_p=0., **kwargs):
    "A language model without dropout in its encoder."
    torch.manual_seed(3)
    encoder = m.AWDLSTM(10, 4, 4, 1, hidden_p=0, input_p=0, embed_p=0, weight_p=0)
    model = m.LanguageModel(encoder, output_p, **kwargs)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if name.startswith('decoder.bias'): p.copy_(randn(10, seed=8))
    return model

TEXT = torch.tensor([[2, 5, 3], [7, 0, 9]])

def scores(m): return small_lm(m).eval()(TEXT)

def by_its_encoder(m):
    model = small_lm(m).eval()
    out = model(TEXT)
    model.reset()
    return (out - nn.functional.linear(model.encoder(TEXT), model.encoder.encoder.emb.weight, model.decoder.bias)).abs().max()

def factors(m):
    out = small_lm(m).train()(TEXT)
    return dict(kind=type(out).__name__, dropped=out.dropped, raw=out.raw, weight=out.weight, bias=out.bias, logits=out.logits())

def same_factors(m):
    model = small_lm(m).train()
    out = model(TEXT)
    return [out.weight is model.decoder.weight, out.bias is model.decoder.bias]

def tied(m):
    model = small_lm(m)
    return dict(one_matrix=model.decoder.weight is model.encoder.encoder.emb.weight, parameters=sum(p.numel() for p in model.parameters()))

def with_its_own(m):
    model = small_lm(m, tie=False)
    w = model.decoder.weight
    return dict(one_matrix=w is model.encoder.encoder.emb.weight, within_a_tenth=bool(w.abs().max() <= 0.1), spread=bool(w.std() > 0.03), shape=tuple(w.shape))

def at_first(m):
    torch.manual_seed(0)
    model = m.LanguageModel(m.AWDLSTM(10, 4, 4, 1))
    return dict(bias=model.decoder.bias, embedding_within_a_tenth=bool(model.decoder.weight.abs().max() <= 0.1), padding=model.decoder.weight[1])

def without_bias(m):
    model = small_lm(m, bias=False)
    return [model.decoder.bias, model.train()(TEXT).bias, model.eval()(TEXT).shape]

def output_dropout(m):
    out = small_lm(m, 0.5).train()(TEXT.repeat(1, 5))
    kept = out.dropped != 0
    return dict(some_dropped=bool((~kept).any()), raw_is_whole=bool((out.raw != 0).all()), doubled=bool(torch.allclose(out.dropped[kept], 2*out.raw[kept])), one_mask_over_time=torch.equal(kept, kept[:, :1].expand_as(kept)))

def not_in_evaluation(m): return (small_lm(m, 0.9).eval()(TEXT) - small_lm(m, 0.).eval()(TEXT)).abs().max()

def its_state(m):
    model = small_lm(m).eval()
    before = model.state
    model(TEXT)
    shared, state = model.state is model.encoder.state, model.state
    model.reset()
    forgotten = model.state, model.encoder.state
    model.state = state
    return dict(before=before, after_a_batch=state, shared=shared, after_reset=forgotten, given_back=model.encoder.state is state)

def read_in_pieces(m):
    model = small_lm(m).eval()
    whole = model(TEXT)
    model.reset()
    return (torch.cat([model(TEXT[:, :1]), model(TEXT[:, 1:])], 1) - whole).abs().max()

def losses_of_both(m):
    "In training and in evaluation, without dropout: the same model, the same loss."
    model, y = small_lm(m), TEXT.roll(-1, 1)
    a = m.lm_loss(model.train()(TEXT), y)
    model.reset()
    return a, m.lm_loss(model.eval()(TEXT), y)

def loss_by_hand(m): return m.lm_loss(torch.tensor([[[0., 0., 1.], [2., 0., 0.]]]), torch.tensor([[0, 1]]))

def gradients_of_all(m):
    model = small_lm(m).train()
    m.lm_loss(model(TEXT), TEXT.roll(-1, 1)).backward()
    return {k: p.grad for k, p in model.named_parameters() if k.endswith(('emb.weight', 'bias_ih_l0', 'decoder.bias'))}

def never_scores(m):
    "The largest tensor of a training step has fewer elements than the scores of all words would have."
    torch.manual_seed(0)
    model = m.LanguageModel(m.AWDLSTM(3000, 4, 4, 1)).train()
    ids = torch.arange(2400).view(24, 100)
    with patch.dict(m._CHUNK, cpu=2**17), Largest() as seen: m.lm_loss(model(ids), ids)
    return seen.numel < ids.numel()*3000

@entry('17a.7', level=2, minutes=35, hints=[
    'The decoder turns a vector into a score for each word, the embedding a word into a vector. Both have a matrix of words by features: what does it take to make it one and the same? And what does the loss in training need instead of the scores?',
    'Assign the parameter: `self.decoder.weight = emb.weight`. In training the forward pass returns an `LMOutput` with the vectors after and before dropout and the decoder\'s weight and bias; in evaluation its `logits()`. `state` and `reset` are handed to the encoder, the state as a property with a setter.',
    'The embedding is `encoder.encoder.emb`; names that other lessons rely on are `encoder`, `output_dp` (an RNNDropout) and `decoder`, an `nn.Linear` whose weight begins within 0.1 and whose bias at zero. `lm_loss` takes either form: rows and steps flattened into one axis, `linear_cross_entropy` of the factors or `cross_entropy` of the logits.'],
    why='One matrix for both ends saves a third of the parameters or more, and each word is trained when it is read and when it is predicted. Returning the factors lets the loss go through the scores in pieces, so that rows times words never lie in memory at once; in evaluation a tensor comes out, as everybody expects of a model.')
def language_model():
    at = small_lm
    return [case('in evaluation the scores (n,t,c)', scores, also=at),
            case("they are the encoder's vectors times the embedding, plus the bias", by_its_encoder, also=at),
            case('in training an LMOutput with its four fields, and its logits', factors, also=at),
            case("the decoder's own parameters, no copies", same_factors, also=at),
            case('decoder and embedding are one matrix', tied, also=at),
            case('with tie=False the decoder has a weight of its own, within 0.1', with_its_own, also=at),
            case('at first the bias is zero, and the embedding what the encoder made it', at_first),
            case('without a bias', without_bias, also=at),
            case('output dropout: one mask over time, and the raw vectors are kept', output_dropout, also=at),
            case('in evaluation nothing is dropped', not_in_evaluation, also=at),
            case("the state is the encoder's, to be read, given and forgotten", its_state, also=at),
            case('a text in pieces gives the same scores', read_in_pieces, also=at),
            case('the loss of logits is the mean over all words', loss_by_hand),
            case('the loss is the same in both modes, if nothing is dropped', losses_of_both, also=at),
            case('the gradients reach embedding, layers and bias', gradients_of_all, also=at),
            case('in training the scores are never held', never_scores, also=Largest)]


def step(m, raw, dropped=None, training=True, loss=1., **kwargs):
    "The loss after the callback has seen one batch of outputs (n,t,d)."
    raw = torch.as_tensor(raw)
    learn = SimpleNamespace(training=training, loss=torch.tensor(loss), preds=m.LMOutput(raw if dropped is None else torch.as_tensor(dropped), raw, None))
    m.RNNRegularizerCB(**kwargs).after_loss(learn)
    return learn.loss

RAW, DROPPED = [[[1.], [3.], [0.]]], [[[2.], [0.], [0.]]]

def ar_alone(m): return step(m, RAW, DROPPED, alpha=2., beta=0.)
def tar_alone(m): return step(m, RAW, DROPPED, alpha=0., beta=1.)
def both(m): return step(m, randn(2, 5, 3), randn(2, 5, 3, seed=1), alpha=2., beta=3.)
def by_default(m): return step(m, randn(2, 5, 3), randn(2, 5, 3, seed=1)), m.RNNRegularizerCB().alpha, m.RNNRegularizerCB().beta
def neither(m): return step(m, RAW, DROPPED, alpha=0, beta=0)
def one_column(m): return step(m, [[[5.]], [[2.]]], alpha=0., beta=1.)
def in_validation(m): return step(m, RAW, DROPPED, training=False)

def logits_in_validation(m):
    learn = SimpleNamespace(training=False, loss=torch.tensor(1.), preds=torch.zeros(2, 3, 4))
    m.RNNRegularizerCB().after_loss(learn)
    return learn.loss

def recorded_stays(m):
    loss = torch.tensor(1.)
    learn = SimpleNamespace(training=True, loss=loss, preds=m.LMOutput(randn(2, 5, 3), randn(2, 5, 3), None))
    m.RNNRegularizerCB().after_loss(learn)
    return dict(the_tensor_of_before=loss, the_new_one_is_larger=bool(learn.loss > 1))

def penalty_gradients(m):
    raw, dropped = randn(2, 4, 3).requires_grad_(), randn(2, 4, 3, seed=1).requires_grad_()
    return list(torch.autograd.grad(step(m, raw, dropped, alpha=2., beta=3.), [raw, dropped]))

def half_outputs(m): return step(m, (randn(2, 5, 3)*300).half(), alpha=1., beta=1.)
def where_in_the_order(m): return m.RNNRegularizerCB.order, m.RNNRegularizerCB.fit_only
def plain_logits(m):
    learn = SimpleNamespace(training=True, loss=torch.tensor(1.), preds=torch.zeros(2, 3, 4))
    m.RNNRegularizerCB().after_loss(learn)
def negative(m): m.RNNRegularizerCB(2., -1.)
def infinite(m): m.RNNRegularizerCB(math.inf)
def of_text(m): m.RNNRegularizerCB('2')

@entry('17a.8', level=1, minutes=15, hints=[
    'Two formulas, two outputs: which of the penalties looks at the vectors after dropout, which at those before?',
    'AR is the mean of the squares of `out.dropped`, TAR the mean of the squares of the differences of `out.raw` along axis 1. Both are added to `learn.loss`, as a new tensor, in training alone.',
    'A batch of one column has no differences, and the mean over nothing is nan. Compute in float32, because squares of half precision overflow early. A model that gives no `LMOutput` in training is a TypeError, and weights that are negative, infinite or no numbers are a ValueError when the callback is made.'],
    why='A new tensor and not `+=`: the Recorder still holds the loss of before, and adding in place would change what it has written down. The squares are taken in float32, where the largest number of float16 squared has room.')
def regularizer():
    return [case('AR: alpha times the mean square of the output after dropout', ar_alone, also=step),
            case('TAR: beta times the mean square of the changes in time, before dropout', tar_alone, also=step),
            case('both, for several rows and features', both, also=step),
            case('the defaults are 2 and 1', by_default, also=step),
            case('weights of 0 change nothing', neither, also=step),
            case('a batch of one column has no changes in time', one_column, also=step),
            case('validation is left alone', in_validation, also=step),
            case('in validation any output will do', logits_in_validation),
            case('the loss of before stays as it was, for the Recorder', recorded_stays),
            case('the gradient of both', penalty_gradients, also=step),
            case('outputs in float16 whose squares are larger than float16 can hold', half_outputs, also=step),
            case('after the Recorder, in fits only', where_in_the_order),
            case('a model that gives no LMOutput in training is refused, with what it gave', plain_logits, raises=TypeError, names=('LMOutput', 'Tensor')),
            case('a negative weight is refused', negative, raises=ValueError, names='beta'),
            case('an infinite weight is refused', infinite, raises=ValueError, names='alpha'),
            case('a weight that is no number is refused', of_text, raises=ValueError, names='alpha')]
