"Lesson 19: ULMFiT."
from types import SimpleNamespace

import torch
from torch import nn

from mylib.judge import call, case, entry, randn

nan = float('nan')

W = torch.tensor([[1., 2.], [3., 4.], [5., 6.], [70., 80.]])

def rows(m, weight, old, new): return m.match_rows(weight, m.Vocab(['xxunk', *old.split()]), m.Vocab(['xxunk', *new.split()]))

def same_words(m): return rows(m, W, 'a b c', 'a b c')
def other_order(m): return rows(m, W, 'a b c', 'c a b')
def new_word(m): return rows(m, W, 'a b c', 'a b c d')
def fewer_words(m): return rows(m, W, 'a b c', 'c')
def nothing_in_common(m): return rows(m, W, 'a b c', 'x y z q')
def unknown_elsewhere(m): return m.match_rows(W, m.Vocab(['a', 'b', 'xxunk', 'c']), m.Vocab(['c', 'd', 'xxunk', 'a']))
def of_a_bias(m): return rows(m, W[:, 0], 'a b c', 'c d a')
def three_axes(m): return rows(m, randn(4, 2, 3), 'a b c', 'd b')
def to_the_bit(m): return bool(torch.equal(rows(m, randn(4, 50), 'a b c', 'c b a'), randn(4, 50)[[0, 3, 2, 1]]))
def own_memory(m):
    out = rows(m, weight := W.clone(), 'a b c', 'a b c')
    out.zero_()
    return weight

def same_type(m): return rows(m, W.double(), 'a b c', 'b d'), rows(m, W.half(), 'a b c', 'b')
def many_words(m):
    old, new = m.Vocab(['xxunk', *map(str, range(2000))]), m.Vocab(['xxunk', *map(str, range(1000, 3500))])
    out = m.match_rows(randn(2001, 3), old, new)
    return out[:, 0].double().cumsum(0)[::500]

def wrong_vocab(m): rows(m, W, 'a b c d', 'a')
def swapped_vocabs(m): rows(m, W, 'a', 'a b c')

@entry('19.1', level=1, minutes=12, hints=[
    'For each token of the new vocabulary: where was it in the old one, if anywhere?',
    '`old.stoi` gives the number of a token or, with `get`, a -1 where there is none. Begin with a tensor in which every row is the mean of all old rows.',
    'Indexing with a mask on the left and numbers on the right copies all known rows at once. The mean keeps its first axis (`keepdim=True`) and is repeated `len(new)` times, once along all other axes. Rows and old tokens must be equally many: a ValueError with both counts.'],
    why='Known rows are copied and not computed, so they are the same to the last bit. The mean of all rows is what one knows about a word before one knows anything, and it has the length and the direction that the layers above are used to.')
def match_rows():
    return [case('the same vocabulary gives the same rows', same_words, also=rows),
            case('a row goes where its token goes', other_order, also=rows),
            case('a token that is new gets the mean of all rows', new_word, also=rows),
            case('rows of tokens that are gone are left out, and count in the mean', fewer_words, also=rows),
            case('xxunk is a token like the others, wherever it stands', unknown_elsewhere),
            case('nothing in common but xxunk', nothing_in_common, also=rows),
            case('one number for each token, as a bias has', of_a_bias, also=rows),
            case('rows that have several axes', three_axes, also=rows),
            case('known rows are the same to the bit', to_the_bit, also=rows),
            case('the result has its own memory, the old weight stays', own_memory, also=rows),
            case('the type of the weight is kept', same_type, also=rows),
            case('thousands of tokens', many_words),
            case('a weight that does not belong to the old vocabulary is refused, with both counts', wrong_vocab, raises=ValueError, names=('4', '5'), also=rows),
            case('two vocabularies in the wrong order are refused', swapped_vocabs, raises=ValueError, names=('4', '2'), also=rows)]


def padded(lengths, fill):
    x, mask = randn(len(lengths), max(lengths), 3), torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    x[~mask] = fill
    return x, mask

def alone_and_padded(m):
    x = -1 - torch.rand(1, 4, 3, generator=torch.Generator().manual_seed(0)) # all values negative
    more, mask = torch.cat([x, torch.zeros(1, 2, 3)], 1), torch.tensor([[True]*4 + [False]*2])
    return (m.concat_pool(more, mask) - m.concat_pool(x, mask[:, :4])).abs()

@entry('19.2', level=2, minutes=15, hints=[
    'Three vectors for each row. For each of the three: what would a column of padding do to it, and what can you put in its place that does nothing?',
    'The number of real steps of a row is the sum of its mask. Padding that is -inf never is a maximum, padding that is 0 adds nothing to a sum, and the last step of a row is at its number minus one.',
    '`masked_fill` with the mask given a third axis (`mask[..., None]`), then `amax(1)` and `sum(1)`; divide by the numbers of steps, not by t. Indexing with two tensors, rows and steps, takes one vector from each row. Join the three along the features.'],
    why='masked_fill replaces what is there, where a multiplication by the mask would turn an inf or nan in the padding into nan. Each row has its own last step and its own number of steps, so what is said about a text does not depend on its neighbours.')
def concat_pool():
    full = torch.ones(2, 3, dtype=torch.bool)
    return [call('concat_pool', torch.tensor([[[1.], [5.], [3.]]]), full[:1], say='last, greatest and mean of one row without padding'),
            call('concat_pool', randn(2, 3, 4), full, say='several rows and features: last, greatest, mean side by side'),
            call('concat_pool', torch.tensor([[[1.], [5.], [3.], [9.]]]), torch.tensor([[True, True, False, False]]), say='the padding does not count'),
            call('concat_pool', torch.tensor([[[-1.], [-5.], [0.]]]), torch.tensor([[True, True, False]]), say='where all values are negative, the padding is no maximum'),
            call('concat_pool', *padded([4, 1, 3], 0.), say='each row has its own last step and its own number of steps'),
            case('a text alone and the same text with padding give the same', alone_and_padded),
            call('concat_pool', *padded([4, 1, 3], 100.), say='large values in the padding do no harm', grad=True),
            call('concat_pool', *padded([4, 1, 3], nan), say='nor does nan'),
            call('concat_pool', randn(2, 5, 3, dtype=torch.float64), torch.tensor([[True]*5, [True]*2 + [False]*3]), say='the type of x is kept')]


def learner(m, n_part=3):
    from mylib.losses import cross_entropy
    layers = [nn.Linear(3, 3) for _ in range(n_part - 1)] + [nn.Linear(3, 2)]
    model = nn.Sequential(*layers)
    with torch.no_grad():
        for i, p in enumerate(model.parameters()): p.copy_(randn(*p.shape, seed=i))
    loader = [(randn(4, 3, seed=k), torch.tensor([0, 1, 1, 0])) for k in range(5)]
    learn = m.Learner(model, (loader, loader[:1]), cross_entropy, 0.1, device='cpu')
    learn.split(lambda model: list(model))
    return learn

def watch(log):
    from mylib.learner import Callback
    class WatchCB(Callback):
        def before_fit(self, learn): self.before = [layer.weight.detach().clone() for layer in learn.model]
        def after_fit(self, learn):
            moved = [not torch.equal(layer.weight, w) for layer, w in zip(learn.model, self.before)]
            log.append(dict(moved=moved, epochs=len(learn.recorder.losses)//5, top=[max(r) for r in learn.recorder.sched['lr']]))
    return WatchCB()

def phases(m, n_part=3, **kwargs):
    "What moved in each fit, for how many epochs, and the highest rate of each part."
    log, learn = [], learner(m, n_part)
    with learn.no_progress(): learn.unfreeze_gradually(**dict(n_epoch=1) | dict(cbs=watch(log)) | kwargs)
    return log

def what_moves(m): return [f['moved'] for f in phases(m)]
def how_long(m): return [f['epochs'] for f in phases(m, n_epoch=2)], [f['epochs'] for f in phases(m, n_epoch=3, epochs_each=2)]
def at_once(m): return [(f['moved'], f['epochs']) for f in phases(m, epochs_each=0)]
def rates(m): return {f'factor={k}': [f['top'] for f in phases(m, lr=0.04, factor=k)] for k in (2.6, 1.)}
def default_rate(m): return phases(m)[-1]['top']
def other_numbers(m): return [[f['moved'] for f in phases(m, k)] for k in (2, 4)]
def trained(m):
    learn = learner(m)
    with learn.no_progress(): learn.unfreeze_gradually(2, 0.05)
    return [p for p in learn.model.parameters()], [p.requires_grad for p in learn.model.parameters()]

def table_of(m):
    learn = learner(m)
    with learn.no_progress(): table = learn.unfreeze_gradually(2, 0.05)
    return dict(rows=len(table), index=list(table.index), parts=list(table.parts), losses=table.train_loss.tolist(), epoch_is_a_column='epoch' in table.columns)

def one_callback(m):
    from mylib.learner import Callback
    class CountCB(Callback):
        fits = 0
        def before_fit(self, learn): CountCB.fits += 1
    learn = learner(m)
    with learn.no_progress(): learn.unfreeze_gradually(1, cbs=CountCB())
    first = CountCB.fits
    with learn.no_progress(): learn.unfreeze_gradually(1, cbs=[CountCB(), CountCB()])
    return first, CountCB.fits - first

def settings_of_the_cycle(m):
    learn = learner(m)
    with learn.no_progress(): learn.unfreeze_gradually(1, 0.05, pct_start=0.6, div=5.)
    return learn.recorder.sched['lr']

def rising(m):
    learn = learner(m)
    with learn.no_progress(): learn.unfreeze_gradually(1, factor=0.5)
def no_epochs(m):
    learn = learner(m)
    with learn.no_progress(): learn.unfreeze_gradually(0)
def fewer_than_none(m):
    learn = learner(m)
    with learn.no_progress(): learn.unfreeze_gradually(1, epochs_each=-1)
def no_rate(m):
    learn = learner(m)
    with learn.no_progress(): learn.unfreeze_gradually(1, lr=-0.1)

@entry('19.3', level=2, minutes=30, hints=[
    'How many phases are there for n parts, how many parts train in phase k, and which number does `freeze_to` want for that?',
    'The rates are one list for all phases, a number for each part: the last part has lr, each one before it the rate of its successor divided by factor. Then a loop: freeze to n - k, one cycle, keep the table.',
    '`_groups(self.model, self.splitter)` are the parts. Phases 1 to n-1 have epochs_each epochs (0 leaves them out), the last has n_epoch. Every fit begins a new table: take `self.recorder.to_frame()` after each, with a column `parts`, and concatenate, without the column `epoch`. Check with `_rate` and `_whole`; a factor below 1 is a ValueError.'],
    why='The rates belong to the parts and not to the phases, so the list is the same in each and the frozen parts have no use for theirs. listify lets cbs be None, one callback or several, once for all phases.')
def unfreeze_gradually():
    more = phases, watch, learner
    return [case('the last part alone, then the last two, then all', what_moves, also=more),
            case('with more parts or fewer', other_numbers, also=more),
            case('epochs_each in the phases before, n_epoch in the last', how_long, also=more),
            case('epochs_each of 0 trains all parts at once', at_once, also=more),
            case('each part has the rate of the next one divided by the factor', rates, also=more),
            case('the default rate is that of the Learner', default_rate, also=more),
            case('a row for each epoch of all phases, with the number of parts', table_of, also=learner),
            case('callbacks, one or several, take part in all phases', one_callback, also=learner),
            case('other settings go to the one-cycle schedule', settings_of_the_cycle, also=learner),
            case('the weights at the end, all of them free', trained, also=learner),
            case('a factor below 1 is refused', rising, raises=ValueError, names='factor', also=learner),
            case('no epochs with all parts are refused', no_epochs, raises=ValueError, names='n_epoch', also=learner),
            case('fewer than no epochs are refused', fewer_than_none, raises=ValueError, names='epochs_each', also=learner),
            case('a negative rate is refused', no_rate, raises=ValueError, names='lr', also=learner)]


TEXT = 'a dull film , a very dull film'

def judge_of(m, n_out=2, backwards=False, **kwargs):
    "A TextLearner with weights that do not depend on how they are drawn."
    words = m.Vocab('xxunk xxpad xxbos a dull film very good ,'.split())
    model = m.TextClassifier(m.AWDLSTM(len(words), 4, 6, n_layers=2), n_out, **kwargs)
    with torch.no_grad():
        for i, (_, p) in enumerate(sorted(model.named_parameters())): p.copy_(randn(*p.shape, seed=i))
    dls = SimpleNamespace(train=None, valid=None, tokenizer=m.WordTokenizer(), words=words, vocab=list('abcde'[:n_out]), backwards=backwards)
    return m.TextLearner(model, dls, m.label_loss, device='cpu')

def pairs(learn, text=TEXT, **kwargs): return [(str(t), float(v)) for t, v in learn.explain(text, **kwargs)]

def tokens_of(m): return [t for t, _ in pairs(judge_of(m))], [t for t, _ in pairs(judge_of(m, backwards=True))]
def one_token(m): return pairs(judge_of(m), '', index=1)
def of_a_class(m): return {f'index={i}': pairs(judge_of(m), index=i) for i in (1, 0)}
def of_the_predicted(m):
    out = {}
    for i in range(3):
        learn = judge_of(m, n_out=3)
        with torch.no_grad(): learn.model.head[-1].bias[i] += 100 # class i wins
        out[f'class {i} wins'] = pairs(learn)
    return out

def of_four_classes(m): return {f'index={i}': pairs(judge_of(m, n_out=4), 'a good film', index=i) for i in range(4)}
def of_a_single_class(m): return pairs(judge_of(m, n_out=1), 'a good film')
def read_backwards(m): return pairs(judge_of(m, backwards=True), index=1)
def without_beginning(m):
    out = []
    for back in (False, True):
        learn = judge_of(m, backwards=back)
        learn.dls.tokenizer = m.WordTokenizer(bos=False)
        out.append(pairs(learn, 'a good film', index=1))
    return out

def in_pieces(m): return pairs(judge_of(m, bptt=3), index=1), pairs(judge_of(m, bptt=1), index=1)
def same_again(m):
    learn = judge_of(m)
    learn.model.train()
    return pairs(learn) == pairs(learn), learn.model.training

def frozen_embedding(m):
    learn = judge_of(m)
    learn.model.requires_grad_(False)
    return pairs(learn, index=1)

def without_gradients(m):
    with torch.no_grad(): return pairs(judge_of(m), index=1)

def nothing_left(m):
    learn = judge_of(m)
    learn.model.train()
    before = [p.detach().clone() for p in learn.model.parameters()]
    pairs(learn)
    return {'hooks': sum(len(k._forward_hooks) for k in learn.model.modules()), 'in training': learn.model.training, 'state': learn.model.encoder.state,
            'gradients': any(p.grad is not None for p in learn.model.parameters()), 'weights unchanged': all(map(torch.equal, before, learn.model.parameters()))}

def nothing_left_after_an_error(m):
    learn = judge_of(m)
    learn.model.train()
    try: learn.explain(TEXT, index=7)
    except IndexError: return {'hooks': sum(len(k._forward_hooks) for k in learn.model.modules()), 'in training': learn.model.training}

def no_text(m): judge_of(m).explain(['a', 'list'])

@entry('19.4', level=3, minutes=40, hints=[
    'You want the gradient at the vectors of the tokens. Who makes these vectors, and how do you get hold of them in the middle of a forward pass?',
    'A forward hook on `model.encoder.encoder` may return what goes on instead of its output: a detached copy that requires a gradient, which you keep. A long text is read in pieces, so there may be several. After the pass, `torch.autograd.grad` of the score with respect to all that were kept; the contribution is vector times gradient, summed over the features.',
    'The score is the logit of the class minus the mean of the others (of nothing, if there is one class). Eval mode and `torch.enable_grad()` inside; take the hook off and restore the mode in a `finally`. `self.tokens(text)` is the order in which the model reads; if the loaders are backwards, turn all but a leading xxbos round again before you return.'],
    why='The copy is a leaf, so the embedding itself may be frozen and no parameter gets a gradient. What was switched is switched back in a finally, since an explanation that fails half way must not leave a hook that falsifies the next prediction.')
def explain():
    more = judge_of, pairs
    return [case('one pair for each token, in the order of the text, however it is read', tokens_of, also=more),
            case('embedding times gradient of the score of a class; for the other class the reverse', of_a_class, also=more),
            case('a text of xxbos alone', one_token, also=more),
            case('the score is a logit minus the mean of the others', of_four_classes, also=more),
            case('without an index, the class that is predicted', of_the_predicted, also=more),
            case('with a single class the score is its logit', of_a_single_class, also=more),
            case('read backwards, each token has its own contribution', read_backwards, also=more),
            case('without xxbos all tokens are turned round', without_beginning, also=more),
            case('a text that is read in pieces', in_pieces, also=more),
            case('no dropout, and the same result each time', same_again, also=more),
            case('a frozen model can be explained', frozen_embedding, also=more),
            case('inside of no_grad as well', without_gradients, also=more),
            case('no hook, gradient or state is left, and the mode is what it was', nothing_left, also=more),
            case('nor after an error', nothing_left_after_an_error, also=more),
            case('what is no text is refused', no_text, raises=TypeError, names='text', also=more)]
