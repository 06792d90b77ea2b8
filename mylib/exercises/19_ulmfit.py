"Lesson 19: ULMFiT."
import math
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


def reading(m, words, seed=0, backwards=False, **kwargs):
    "A language model for these words, as far as `adopt` knows a Learner."
    from mylib.lm import get_language_model
    torch.manual_seed(seed)
    vocab = m.Vocab(['xxunk', *words.split()])
    model = get_language_model(len(vocab), dict(dict(emb_size=4, n_hid=5, n_layers=2), **kwargs))
    with torch.no_grad(): model.decoder.bias.copy_(randn(len(vocab), seed=seed)) if model.decoder.bias is not None else None
    return SimpleNamespace(model=model, opt='an optimizer', dls=SimpleNamespace(vocab=vocab, backwards=backwards))

def adopted(m, there='a b c', here='c d a', **kwargs):
    old, new = reading(m, there, seed=1, **kwargs), reading(m, here, **kwargs)
    added = m.adopt(new, old)
    return old, new, added

def what_is_new(m): return [adopted(m, *w)[2] for w in (('a b c', 'c d a'), ('a b', 'b a'), ('a', 'z y x'))]

def rows_of_the_words(m):
    old, new, _ = adopted(m)
    return {f'{k}, {w}': (new.model.state_dict()[k][new.dls.vocab.stoi[w]] - old.model.state_dict()[k][old.dls.vocab.stoi[w]]).abs().max() for k in ('decoder.weight', 'decoder.bias') for w in ('xxunk', 'a', 'c')}

def row_of_a_new_word(m):
    old, new, _ = adopted(m)
    return [(new.model.state_dict()[k][new.dls.vocab.stoi['d']] - old.model.state_dict()[k].mean(0)).abs().max() for k in ('decoder.weight', 'decoder.bias')]

def all_the_rest(m):
    old, new, _ = adopted(m)
    there = old.model.state_dict()
    return {k: torch.equal(v, there[k]) for k, v in new.model.state_dict().items() if 'rnns' in k}

def same_scores(m):
    "Of a text whose words both know, the scores of the words that both know."
    old, new, _ = adopted(m)
    def scores(learn):
        learn.model.eval().reset()
        ids = learn.dls.vocab.numericalise(['a', 'c', 'c', 'a'])
        with torch.no_grad(): return learn.model(ids[None])[0][:, learn.dls.vocab.numericalise(['xxunk', 'a', 'c'])]
    return (scores(new) - scores(old)).abs().max()

def still_one_matrix(m):
    _, new, _ = adopted(m)
    return new.model.decoder.weight is new.model.encoder.encoder.emb.weight

def of_its_own(m):
    "Models whose decoder has a weight of its own, without a bias."
    old, new, _ = adopted(m, tie=False, bias=False)
    return dict(one_matrix=new.model.decoder.weight is new.model.encoder.encoder.emb.weight,
                rows=[(new.model.state_dict()[k][1] - old.model.state_dict()[k][3]).abs().max() for k in ('decoder.weight', 'encoder.encoder.emb.weight')])

def source_stays(m):
    old = reading(m, 'a b c', seed=1)
    before = {k: v.clone() for k, v in old.model.state_dict().items()}
    new = reading(m, 'c d a')
    m.adopt(new, old)
    with torch.no_grad():
        for p in new.model.parameters(): p.add_(1.)
    return dict(weights=all(torch.equal(v, before[k]) for k, v in old.model.state_dict().items()), words=len(old.dls.vocab), optimizer=old.opt)

def no_old_optimizer(m): return adopted(m)[1].opt
def other_sizes(m): m.adopt(reading(m, 'a b', n_hid=7), reading(m, 'a c'))
def more_layers(m): m.adopt(reading(m, 'a b'), reading(m, 'a c', n_layers=3))
def other_direction(m): m.adopt(reading(m, 'a b', backwards=True), reading(m, 'a c'))

@entry('19.2', level=2, minutes=20, hints=[
    'Which tensors of the state dict have a row for each word, and which belong to no word in particular?',
    'Names that end in `emb.weight` or begin with `decoder.` go through `match_rows` with the old and the new vocabulary; all others are taken as they are. `load_state_dict` then copies the values into the parameters that are there.',
    'First refuse models that read in different directions (`dls.backwards`); then compare the sizes, after the rows were matched, with `_mismatch`, and say all that differs in one ValueError. The optimizer is dropped, its averages belong to other weights. What is returned are the tokens of the new vocabulary that the old one lacks, in their order.'],
    why='Loading values into the parameters leaves a tie between embedding and decoder as it is, where a new embedding would have undone it without a word. The sizes are compared by hand, all at once, since PyTorch\'s own message does not say which of two models is the odd one. The direction is no size, and nothing else would ever notice it.')
def adopt():
    at = (reading, adopted)
    return [case('it returns the tokens that are new, in their order', what_is_new, also=at),
            case('a word that both know keeps its row and its bias', rows_of_the_words, also=at, atol=1e-6),
            case('a new word gets the mean of all rows', row_of_a_new_word, also=at, atol=1e-6),
            case('all other weights are the same', all_the_rest, also=at),
            case('so both give the same scores to the words that they know', same_scores, also=at, atol=1e-5),
            case('embedding and decoder are still one matrix', still_one_matrix, also=at),
            case('a decoder with a weight of its own', of_its_own, also=at, atol=1e-6),
            case('the source is not changed, now or later', source_stays, also=reading),
            case('the optimizer is dropped', no_old_optimizer, also=at),
            case('other sizes are refused, with the tensors that differ', other_sizes, raises=ValueError, names=('rnns.0', '(20, 4)', '(28, 4)'), also=reading),
            case('another number of layers is refused', more_layers, raises=ValueError, names='rnns.2', also=reading),
            case('another direction is refused', other_direction, raises=ValueError, names='backwards', also=reading)]


def padded(lengths, fill):
    x, mask = randn(len(lengths), max(lengths), 3), torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    x[~mask] = fill
    return x, mask

def alone_and_padded(m):
    x = -1 - torch.rand(1, 4, 3, generator=torch.Generator().manual_seed(0)) # all values negative
    more, mask = torch.cat([x, torch.zeros(1, 2, 3)], 1), torch.tensor([[True]*4 + [False]*2])
    return (m.concat_pool(more, mask) - m.concat_pool(x, mask[:, :4])).abs()

@entry('19.3', level=2, minutes=15, hints=[
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


def text_model(m, n_out=2, output_p=0.3, head_p=0.4, **kwargs):
    "A classifier of ten words, evaluated, with weights that do not depend on how they are drawn."
    model = m.TextClassifier(m.AWDLSTM(10, 4, 6, n_layers=2, hidden_p=0, input_p=0, embed_p=0, weight_p=0), n_out, output_p=output_p, head_p=head_p, **kwargs)
    with torch.no_grad():
        for i, (_, p) in enumerate(sorted(model.named_parameters())): p.copy_(randn(*p.shape, seed=i))
    return model.eval()

THREE = torch.tensor([[2, 5, 7, 3, 9], [2, 4, 4, 1, 1], [2, 8, 1, 1, 1]]) # 1 is the padding

def three_texts(m): return text_model(m)(THREE)
def five_classes(m): return text_model(m, 5)(THREE).shape

def alone(m):
    model = text_model(m)
    return (torch.cat([model(THREE[i:i + 1, :n]) for i, n in enumerate((5, 3, 2))]) - model(THREE)).abs().max()

def more_padding(m):
    model = text_model(m)
    return (model(nn.functional.pad(THREE, (0, 4), value=1)) - model(THREE)).abs().max()

def read_in_pieces(m): return {n: (text_model(m, bptt=n)(THREE) - text_model(m)(THREE)).abs().max() for n in (1, 2, 3, 99)}

def called_with(m):
    "The widths of what the encoder is given."
    model, widths = text_model(m, bptt=2), []
    model.encoder.register_forward_pre_hook(lambda _, args: widths.append(args[0].shape[1]))
    model(THREE)
    return widths

def twice_the_same(m):
    model = text_model(m)
    return (model(THREE) - model(THREE)).abs().max()

def no_state_left(m):
    model = text_model(m)
    model(THREE)
    return model.encoder.state

def after_other_rows(m):
    model = text_model(m)
    model.encoder(THREE[:2])
    return (model(THREE) - text_model(m)(THREE)).abs().max()

def empty_text(m): return text_model(m)(torch.tensor([[2, 3], [1, 1]]))
def other_padding(m): return text_model(m, pad_idx=0)(torch.tensor([[2, 1, 3], [2, 1, 0]]))

def layers_of_the_head(m):
    head = m.TextClassifier(m.AWDLSTM(10, 4, 6), 3, hidden=7, head_p=0.4).head
    return [(type(o).__name__, getattr(o, 'p', None), [tuple(p.shape) for p in o.parameters()]) for o in head]

def undecided_at_first(m):
    model = m.TextClassifier(m.AWDLSTM(10, 4, 6), 3).eval()
    return model(THREE)

def dropped_vectors(m):
    "With a dropout of everything, training sees nothing of the text."
    model = text_model(m, output_p=1., head_p=0.)
    differ = lambda out: bool((out[0] - out[1]).abs().max() > 1e-5)
    return dict(texts_differ=differ(model.train()(THREE)), in_evaluation=differ(model.eval()(THREE)))

def across_a_border(m):
    "Does the first word's embedding get a gradient from the last step, which is in another piece?"
    model = text_model(m, bptt=2)
    out = []
    model.encoder.register_forward_hook(lambda _, args, o: out.append(o))
    model(torch.tensor([[2, 5, 7, 3]]))
    table = model.encoder.encoder.emb.weight
    return [bool(torch.autograd.grad(o.sum(), table, retain_graph=True)[0][2].any()) for o in out]

def made_with(m): return m.TextClassifier(m.AWDLSTM(10, 4, 6), 3, hidden=7, bptt=20, pad_idx=0).args

def padding_in_front(m): text_model(m)(THREE.flip(1))
def padding_in_between(m): text_model(m)(torch.tensor([[2, 1, 3]]))
def no_classes(m): m.TextClassifier(m.AWDLSTM(10, 4, 6), 0)
def no_steps_at_once(m): m.TextClassifier(m.AWDLSTM(10, 4, 6), bptt=0)
def all_of_the_head(m): m.TextClassifier(m.AWDLSTM(10, 4, 6), head_p=4)

@entry('19.4', level=3, minutes=45, hints=[
    'Follow a batch of texts of different length: who tells the pooling what is padding, who remembers between two pieces of a long text, and who must have forgotten before and after?',
    'The mask is `ids != pad_idx`. Reset the encoder, let it read the pieces of `ids.split(bptt, 1)` one after the other, put their outputs together in time, reset it again. Then output dropout, `concat_pool` with the mask, the head.',
    'The head: batch norm of 3 times the embedding\'s size, dropout, linear, ReLU, batch norm, a quarter of the dropout, linear, the last one all zeros. A row in which a word stands behind padding is a ValueError; in a text without words let the first place count. Other cells rely on `encoder`, `output_dp`, `head`, `bptt`, `pad_idx`, and on `args`, a dict of the other arguments by name.'],
    why='Pooling over the real steps makes the answer for a text independent of its neighbours and of its padding, which is what a reader expects and what most code of this kind gets wrong. Since the encoder cuts its state off between pieces, a book needs no more memory for its gradient than a page. The last layer begins at zero, so the first gradients do not shake an encoder that is good already.')
def text_classifier():
    at = text_model
    return [case('logits (n,c)', three_texts, also=at),
            case('as many as there are classes', five_classes, also=at),
            case('a text alone gets the logits that it gets in a batch', alone, also=at, atol=1e-4),
            case('more padding changes nothing', more_padding, also=at, atol=1e-4),
            case('nor does the size of the pieces', read_in_pieces, also=at, atol=1e-4),
            case('the encoder is given bptt steps at once', called_with, also=at),
            case('nothing is remembered from one batch to the next', twice_the_same, also=at, atol=1e-5),
            case('the encoder has no state afterwards', no_state_left, also=at),
            case('what the encoder had read before does not matter', after_other_rows, also=at, atol=1e-5),
            case('a text without words', empty_text, also=at),
            case('the padding may have another number', other_padding, also=at),
            case('the layers of the head', layers_of_the_head),
            case('at first all logits are 0', undecided_at_first),
            case("the encoder's vectors are dropped in training", dropped_vectors, also=at),
            case('gradients do not cross from one piece to the one before', across_a_border, also=at),
            case('its arguments are kept', made_with),
            case('padding in front is refused', padding_in_front, raises=ValueError, names='padding', also=at),
            case('padding in between is refused', padding_in_between, raises=ValueError, names='padding', also=at),
            case('no classes are refused', no_classes, raises=ValueError, names='n_out'),
            case('pieces of no steps are refused', no_steps_at_once, raises=ValueError, names='bptt'),
            case('a dropout of 4 is refused', all_of_the_head, raises=ValueError, names='head_p')]


def gradient_of_shares(m):
    x = torch.tensor([[1., -1.], [0., 3.]]).requires_grad_()
    m.label_loss(x, torch.tensor([0.25, 1.])).backward()
    return x.grad

@entry('19.5', level=1, minutes=10, hints=[
    'The cross-entropy is a sum over the classes: minus probability times log-probability. For a class number one of the probabilities is 1. What are they for a float p?',
    '1 - p for the first class and p for the second, side by side as (n,2), times the log-softmax of the logits.',
    'Whole numbers go to `cross_entropy` as ever. For floats, anything but two columns of logits is a ValueError, before it broadcasts; then the sum over the classes, minus, and the mean over the rows.'],
    why='A rating of six in ten and one of ten in ten are both positive, and the class number hides the difference; a probability keeps it. log_softmax makes sure that a confident mistake costs much and not infinity. Without the door, floats for three classes would broadcast to something that looks like a loss.')
def label_loss():
    x = torch.tensor([[1., -1.], [0., 3.], [0.5, 0.5]])
    return [call('label_loss', x, torch.tensor([0, 1, 1]), say='class numbers: the cross-entropy'),
            call('label_loss', x, torch.tensor([0., 1., 1.]), say='probabilities of 0 and 1 are the same as class numbers'),
            call('label_loss', torch.zeros(1, 2), torch.tensor([0.3]), say='for an undecided model any probability costs log 2'),
            call('label_loss', torch.tensor([[0., math.log(3.)]]), torch.tensor([0.75]), say='the float is the probability of the second class'),
            call('label_loss', x, torch.tensor([0.25, 1., 0.5]), say='the mean over the rows'),
            case('its gradient', gradient_of_shares),
            call('label_loss', torch.tensor([[500., -500.]]), torch.tensor([0.5]), say='huge logits do not overflow'),
            call('label_loss', randn(4, 3), torch.tensor([0, 2, 1, 1]), say='class numbers of three classes'),
            call('label_loss', randn(4, 3), torch.tensor([0., 1., 1., 0.5]), raises=ValueError, names='(4, 3)', say='probabilities for three classes are refused, with the shape'),
            call('label_loss.activation', x, say='the activation gives probabilities')]


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

@entry('19.6', level=2, minutes=30, hints=[
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


class Judge:
    "A learner whose answers are known."
    def __init__(self, probs, classes='ab', targets=(0, 1), shift=0.):
        self.probs, self.targets, self.dls, self.shift = torch.tensor(probs), torch.tensor(targets), SimpleNamespace(vocab=list(classes)), shift
        self.explained = []
    def get_preds(self): return self.probs, self.targets
    def predict(self, text):
        p = self.probs[len(text) % len(self.probs)]
        return self.dls.vocab[int(p.argmax())], int(p.argmax()), p
    def explain(self, text, index=None):
        self.explained.append(index)
        return [(t, i + self.shift) for i, t in enumerate(text.split())]

FORWARD, BACKWARD = [[0.9, 0.1], [0.4, 0.6]], [[0.5, 0.5], [0.8, 0.2]]

def ensemble(m, *probs): return m.TextEnsemble([Judge(p, shift=10.*i) for i, p in enumerate(probs)])

def of_two(m): return ensemble(m, FORWARD, BACKWARD).get_preds()
def of_three(m): return ensemble(m, FORWARD, BACKWARD, [[0., 1.], [0., 1.]]).get_preds()
def of_one(m): return ensemble(m, FORWARD).get_preds()
def one_text(m): return [ensemble(m, FORWARD, BACKWARD).predict(t) for t in ('even', 'odd')]
def surer_one_wins(m): return ensemble(m, [[0.45, 0.55]], [[0.45, 0.55]], [[0.9, 0.1]]).predict('text')
def contributions(m): return ensemble(m, FORWARD, BACKWARD).explain('a good film')

def of_which_class(m):
    e = ensemble(m, FORWARD, BACKWARD)
    e.explain('odd')
    e.explain('odd', 1)
    return [l.explained for l in e.learners]

def from_a_generator(m):
    e = m.TextEnsemble(Judge(p) for p in (FORWARD, BACKWARD))
    return [e.predict('even')[1], e.get_preds()[0], len(e.learners)]

def other_classes(m): m.TextEnsemble([Judge(FORWARD), Judge(BACKWARD, classes='ac')])
def classes_elsewhere(m): m.TextEnsemble([Judge(FORWARD), Judge(BACKWARD, classes='ba')])
def nobody(m): m.TextEnsemble([])
def other_texts(m): m.TextEnsemble([Judge(FORWARD), Judge(BACKWARD, targets=(1, 1))]).get_preds()

@entry('19.7', level=2, minutes=15, hints=[
    'Everything is a mean of what the learners say. What must they have in common, so that a mean makes sense?',
    'Stack the probabilities and take the mean over the learners; label and index follow from the mean, not from a vote. For explanations, the tokens are the same, their contributions are averaged.',
    'The constructor makes a list and refuses learners with different class names, or none at all. `get_preds` refuses targets that differ. In `explain` all learners must explain the same class: the one asked for, else the one that the ensemble predicts.'],
    why='A mean of probabilities lets a learner that is sure outweigh two that hesitate, where a vote would not. Two models err in different places if they read differently, and that is what a mean can use. If each explained its own favourite class, the mean would be one of answers to different questions.')
def text_ensemble():
    at = (Judge, ensemble)
    return [case('the mean of the probabilities, and the targets', of_two, also=at),
            case('of three', of_three, also=at),
            case('one alone', of_one, also=at),
            case('for one text: label, index and mean of the probabilities', one_text, also=at),
            case('one that is sure outweighs two that hesitate', surer_one_wins, also=at),
            case('token by token the mean of the contributions', contributions, also=at),
            case('all explain one class: that asked for, else the one that is predicted together', of_which_class, also=at),
            case('the learners may come from a generator', from_a_generator, also=Judge),
            case('learners of different classes are refused', other_classes, raises=ValueError, names='classes', also=Judge),
            case('classes in another order are refused', classes_elsewhere, raises=ValueError, names='classes', also=Judge),
            case('an ensemble of nobody is refused', nobody, raises=ValueError),
            case('learners that validate on different texts are refused', other_texts, raises=ValueError, names='texts', also=Judge)]


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

@entry('19.8', level=3, minutes=40, hints=[
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
