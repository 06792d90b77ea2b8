"Lesson 18: a language model."
import math
from types import SimpleNamespace

import torch
from torch import nn

from mylib.judge import call, case, entry, randn

inf = float('inf')


def twice_reversed(m):
    "There and back."
    docs = [[], ['xxbos'], ['a'], ['xxbos', 'a', 'b', 'c'], ['a', 'xxbos', 'b']]
    return [m.reverse_doc(m.reverse_doc(d)) == d for d in docs]

def of_a_tuple(m): return m.reverse_doc(('xxbos', 'a', 'b'))

@entry('18.1', level=1, minutes=5, hints=[
    'Which token says the same to a reader from either side, and where must it stand for both?',
    'Take off an `xxbos` at the beginning, if there is one; turn the rest round; put it in front again.',
    'A slice of the first element compares safely with `[BOS]`, even where there is none. True and False count as 1 and 0, so one comparison tells how much stays in front.'],
    why='xxbos says "here begins something new", and to a model that reads from the end it must say so at the end. Any other xxbos is a token like all others, so applying the function twice always gives the document back.')
def reverse_doc():
    return [call('reverse_doc', ['a', 'b', 'c'], say='the tokens from the last to the first'),
            call('reverse_doc', ['xxbos', 'a', 'b', 'c'], say='an xxbos at the beginning stays there'),
            call('reverse_doc', ['a', 'xxbos', 'b'], say='one in the middle goes along'),
            call('reverse_doc', ['a', 'b', 'xxbos'], say='one at the end goes to the beginning'),
            call('reverse_doc', ['xxbos', 'xxbos', 'a'], say='only the first of two stays'),
            call('reverse_doc', ['xxbos'], say='nothing but an xxbos'),
            call('reverse_doc', [], say='no tokens'),
            case('twice gives the document back', twice_reversed),
            case('the result is a list, whatever came', of_a_tuple)]


def certain(targets, p=0.5, n_words=4):
    "Logits (n,t,c) that give each target the probability p and share out the rest evenly."
    probs = torch.full((*targets.shape, n_words), (1 - p)/(n_words - 1), dtype=torch.float64)
    return probs.scatter(-1, targets[..., None], p).log().float()

def one_width(m):
    metric, y = m.Perplexity(), torch.tensor([[0, 1, 2]])
    metric.update(certain(y, 0.25), y)
    return metric.value

def two_widths(m):
    metric = m.Perplexity()
    for width, p in ((9, 0.5), (1, 0.001)):
        y = torch.zeros(1, width, dtype=torch.int64)
        metric.update(certain(y, p), y)
    return metric.value

def nothing_read(m): return m.Perplexity().value

def anew(m):
    metric, y = m.Perplexity(), torch.zeros(1, 3, dtype=torch.int64)
    metric.update(certain(y, 0.1), y)
    first = metric.value
    metric.reset()
    metric.update(certain(y, 0.5), y)
    return [first, metric.value]

def looked_at(m):
    metric, y = m.Perplexity(), torch.zeros(1, 3, dtype=torch.int64)
    metric.update(certain(y, 0.1), y)
    return [metric.value, metric.value]

def in_training(m):
    metric, y = m.Perplexity(), torch.tensor([[0, 3, 2], [4, 4, 1]])
    metric.update(m.LMOutput(randn(2, 3, 4), randn(2, 3, 4, seed=9), randn(5, 4, seed=1), randn(5, seed=2)), y)
    return metric.value

def hopeless(m):
    metric, y = m.Perplexity(), torch.zeros(1, 2, dtype=torch.int64)
    metric.update(torch.tensor([[[0., 2000.]]*2]), y)
    return metric.value

def many_batches(m):
    metric, y = m.Perplexity(), torch.zeros(1, 1, dtype=torch.int64)
    for p in (0.5, 0.1)*100: metric.update(certain(y, p), y)
    return metric.value

def title(m): return m.Perplexity().name, isinstance(m.Perplexity(), m.Metric), type(m.Perplexity().value).__name__

@entry('18.2', level=1, minutes=8, hints=[
    'Metric has a mean that counts every target. Where do you take the exponential, so that it is taken once?',
    'Give the Metric the loss `lm_loss` and the name perplexity, and override the property `value`: the exponential of what the value of the parent is.',
    '`super().value` works in a property too. `math.exp` raises an error where the result is too large for a float; the `exp` of a float64 tensor gives inf.'],
    why='The mean is taken over all words first and the exponential last. A mean of perplexities would be dominated by the worst batch, and a mean of batch means by the shortest. An untrained model may have a loss whose exponential does not fit into a float, and a table should then say inf and not stop the training.')
def perplexity():
    return [case('four words, all equally likely, have a perplexity of 4', one_width, also=certain),
            case('the mean is over words, whatever the width of the batches', two_widths, also=certain),
            case('many batches', many_batches, also=certain),
            case('nan before the first batch', nothing_read),
            case('looking at it changes nothing', looked_at, also=certain),
            case('reset begins a new pass', anew, also=certain),
            case('the LMOutput of a model in training will do as well', in_training),
            case('a loss too large for a float gives inf and no error', hopeless),
            case('a Metric with the name perplexity, its value a float', title)]


def reader(m):
    "A small language model with weights that do not depend on how they are drawn."
    model = m.get_language_model(6, dict(emb_size=4, n_hid=5, n_layers=2), 0.)
    with torch.no_grad():
        for i, (_, p) in enumerate(sorted(model.named_parameters())): p.copy_(randn(*p.shape, seed=i))
    return model

STREAM = torch.tensor([[0, 1, 2, 3, 4, 5, 0, 2], [5, 5, 3, 1, 0, 2, 4, 4]])

def pieces(*widths):
    "The stream in batches of these widths, each with the words that come next."
    out, at = [], 0
    for n in widths: out.append((STREAM[:, at:at + n], STREAM[:, at + 1:at + n + 1])); at += n
    return out

def one_batch(m): return m.token_losses(reader(m), pieces(4))
def in_pieces(m): return m.token_losses(reader(m), pieces(3, 1, 3))
def however_cut(m): return (m.token_losses(reader(m), pieces(3, 1, 3)) - m.token_losses(reader(m), pieces(7))).abs().max()
def from_the_learner(m): return m.token_losses(SimpleNamespace(model=reader(m), dls=SimpleNamespace(train=pieces(1), valid=pieces(2, 2))))
def another_loader(m): return m.token_losses(SimpleNamespace(model=reader(m), dls=SimpleNamespace(train=None, valid=pieces(1))), pieces(5))
def perplexities(m): return {str(w): m.perplexity(reader(m), pieces(*w)) for w in ((7,), (6, 1), (1,))}
def its_kind(m): return type(m.perplexity(reader(m), pieces(7))).__name__

def one_hopeless_word(m):
    "Many easy words and one that costs 200 nats."
    model = reader(m)
    with torch.no_grad():
        for p in model.parameters(): p.zero_()
        model.decoder.bias.copy_(torch.tensor([0., -200., -200., -200., -200., -200.]))
    x = torch.zeros(1, 99, dtype=torch.int64)
    y = x.clone()
    y[0, 50] = 3
    return m.perplexity(model, [(x[:, :98], y[:, :98]), (x[:, 98:], y[:, 98:])])

def from_the_beginning(m):
    model = reader(m)
    first = m.token_losses(model, pieces(4))
    return (m.token_losses(model, pieces(4)) - first).abs().max()

def as_it_was(m):
    model = reader(m).train()
    model(STREAM)
    state = model.state
    m.token_losses(model, pieces(4))
    return dict(training=model.training, state=model.state is state)

def no_graph(m): return m.token_losses(reader(m), pieces(4)).requires_grad

class Remembers:
    "A cache that adds 10 to each loss of its first batch after a reset, 20 to those of the second, and so on."
    n = 7
    def reset(self): self.n = 0
    def losses(self, nll, raw, y):
        self.n += 1
        self.shapes = [tuple(t.shape) for t in (nll, raw, y)]
        return nll + 10*self.n

def with_a_cache(m):
    cache, model = Remembers(), reader(m)
    plain = m.token_losses(model, pieces(3, 2))
    return dict(difference=m.token_losses(model, pieces(3, 2), cache) - plain, again=m.token_losses(model, pieces(3, 2), cache) - plain, shapes=cache.shapes)

def perplexity_with_a_cache(m): return math.log(m.perplexity(reader(m), pieces(5), Remembers()) / m.perplexity(reader(m), pieces(5)))

@entry('18.3', level=2, minutes=15, hints=[
    '`_read` gives losses, vectors and targets batch by batch. The batches of a stream lie side by side: along which axis are their losses to be put together?',
    'Without a cache the losses are taken as they come, with one they go through `cache.losses(nll, raw, y)`; a cache begins with `reset`. Bring each batch to the CPU before you join them along the axis of time.',
    '`perplexity` is the exponential of the mean over **all** entries of `token_losses`, in float64, as a float, with the same three arguments.'],
    why='One function that gives the loss of every word, and everything else is a line on top of it: a table, a curve along the text, the comparison of two models word by word. Each batch is brought to the CPU at once, so a long stream needs no memory on the device. The mean is taken before the exponential and over words, or a narrow last batch would count as much as a wide one.')
def word_losses():
    at = (reader, pieces)
    return [case('the loss of each word, (n,t)', one_batch, also=at),
            case('the batches of a stream side by side in time', in_pieces, also=at),
            case('how the stream is cut into batches does not matter', however_cut, also=at, atol=1e-4),
            case("by default the Learner's validation loader", from_the_learner, also=at),
            case('or another loader', another_loader, also=at),
            case('the perplexity is the exp of the mean over all words', perplexities, also=at),
            case('as a float', its_kind, also=at),
            case('one word that costs 200 nats does not overflow it', one_hopeless_word, also=reader),
            case('a second reading begins from the beginning', from_the_beginning, also=at, atol=1e-4),
            case('mode and state of the model are what they were', as_it_was, also=at),
            case('no graph is kept', no_graph, also=at),
            case('a cache is reset, and has its say in each batch', with_a_cache, also=(*at, Remembers), atol=1e-4),
            case('the perplexity takes it, too', perplexity_with_a_cache, also=(*at, Remembers), rtol=1e-3)]


P = torch.tensor([0.1, 0.2, 0.4, 0.2, 0.1], dtype=torch.float64).log()

def several_rows(m): return {str(kw): m.sampling_probs(randn(2, 3, 12), **kw) for kw in (dict(temperature=0), dict(temperature=0.7, top_k=5), dict(top_p=0.8), dict(temperature=2., top_k=6, top_p=0.5))}
def of_a_parameter(m): return m.sampling_probs(nn.Parameter(P), top_k=2).requires_grad
def all_forbidden(m): m.sampling_probs(torch.tensor([[0., 1.], [-inf, -inf]]))

@entry('18.4', level=3, minutes=35, hints=[
    'The first version above fails on ties, on the word that crosses the line, and on a small top_p. Which single idea repairs all three, if the words are sorted?',
    'Sort once, stably and descending. Then top_k keeps the first k places, whatever their values; and the nucleus keeps a word if what lies *before* it, its own probability not included, is less than top_p. Put the kept ones back to their places and divide by their sum.',
    'Work in float64 on the CPU. Take the maximum off the logits before you divide by the temperature; 0 is a case of its own, `one_hot` of the argmax. After top_k divide by the sum before you cumulate; compare with top_p - 1e-9. `scatter` undoes the sort. Check the arguments first: ValueErrors that name them, one for logits without any finite maximum.'],
    why='What lies before the best word is 0, so the nucleus is never empty. A stable sort decides ties in one way for all: by the number of the word. The tolerance is there because 0.1 + 0.2 is more than 0.3 in floats, and whoever asks for 0.3 means those two words.')
def sampling_probs():
    return [call('sampling_probs', torch.tensor([0., 0.]), say='equal scores, equal probabilities, in float64'),
            call('sampling_probs', P, say='without settings: the softmax'),
            call('sampling_probs', P, 0.5, say='the logits are divided by the temperature'),
            call('sampling_probs', P, 0, say='temperature 0: the best word gets everything'),
            call('sampling_probs', torch.tensor([1., 3., 3.]), 0, say='temperature 0: of equals the one with the smaller number'),
            call('sampling_probs', P, top_k=1, say='top_k=1: the best word'),
            call('sampling_probs', P, top_k=2, say='top_k keeps k words, of equals those with the smaller number'),
            call('sampling_probs', P, top_k=99, say='top_k of more words than there are keeps all'),
            call('sampling_probs', P, top_p=0.41, say='the word that crosses top_p is kept'),
            call('sampling_probs', P, top_p=0.61, say='the nucleus, of equals first the one with the smaller number'),
            call('sampling_probs', P, top_p=1e-12, say='the nucleus holds at least the best word'),
            call('sampling_probs', P, top_p=0.6, say='a set that reaches top_p exactly is enough'),
            call('sampling_probs', P, top_p=0.6 + 3e-16, say='a set that reaches top_p but for the rounding is enough'),
            call('sampling_probs', P, top_p=1, say='top_p=1 keeps all'),
            call('sampling_probs', P, 1., 2, 0.6, say='top_p counts in what top_k has left over'),
            call('sampling_probs', P, 0.5, None, 0.6, say='top_p counts after the temperature'),
            call('sampling_probs', torch.tensor([-inf, 1., -inf, 0.]), top_k=3, say='a word with a score of -inf never comes'),
            call('sampling_probs', torch.tensor([1000., 999., -1000.]), say='large scores do not overflow'),
            call('sampling_probs', torch.tensor([-30., -10., -20.]), 1e-308, say='a temperature next to 0 is like 0'),
            call('sampling_probs', torch.tensor([1., 2., 3.], dtype=torch.float16), top_p=0.5, say='scores in half precision'),
            case('several rows are treated like each row alone', several_rows),
            case('probabilities have no gradient', of_a_parameter),
            call('sampling_probs', P, -1., raises=ValueError, names='temperature', say='a negative temperature is refused'),
            call('sampling_probs', P, float('nan'), raises=ValueError, names='temperature', say='a temperature of nan is refused'),
            call('sampling_probs', P, top_k=0, raises=ValueError, names='top_k', say='no words at all are refused'),
            call('sampling_probs', P, top_p=0., raises=ValueError, names='top_p', say='a nucleus of nothing is refused'),
            call('sampling_probs', P, top_p=1.5, raises=ValueError, names='top_p', say='more than everything is refused'),
            call('sampling_probs', torch.tensor([0., float('nan')]), raises=ValueError, names='logits', say='scores of nan are refused'),
            case('a row in which every word is forbidden is refused', all_forbidden, raises=ValueError, names='logits')]


class Chain(nn.Module):
    "The next word depends on the last two, logits (before the last, last, next), and on its place, so that no two texts are equally probable."
    def __init__(self, logits, by_place=0.):
        super().__init__()
        self.logits, self.by_place, self.drop, self.state, self.read = nn.Parameter(logits), by_place, nn.Dropout(0.5), None, []

    def reset(self): self.state = None

    def forward(self, ids): # (n,t) to (n,t,c)
        before, place = (0*ids[:, :1], 0*ids[:, :1]) if self.state is None else (s[0] for s in self.state[0])
        before, place = torch.cat([before, ids[:, :-1]], 1), place + torch.arange(1, ids.shape[1] + 1)
        self.state = [(ids[None, :, -1:], place[None, :, -1:])] # nested, like that of layers; axis 1 is the batch
        self.read.append(tuple(ids.shape))
        return self.drop(self.logits[before, ids]*(1 + self.by_place*place.cos())[..., None])

def chain(c=4, seed=0): return Chain(2*randn(c, c, c, seed=seed), 0.3)
def constant(*probs): return Chain(torch.tensor(probs).log().expand(len(probs), len(probs), -1).clone())

def best_words(m): return m.sample_words(chain(), [1, 2], 8, temperature=0)
def of_a_tensor(m): return [(w, type(w).__name__) for w in m.sample_words(chain(), torch.tensor([3]), 3, temperature=0)]
def no_words(m): return m.sample_words(chain(), [1, 2], 0)

def frequencies(m):
    words = torch.tensor(m.sample_words(constant(0.6, 0.3, 0.1), [0], 1500, seed=0))
    return words.bincount(minlength=3)/1500

def filtered(m):
    words = {k: m.sample_words(constant(0.5, 0.3, 0.15, 0.05), [0], 60, seed=0, **kw) for k, kw in dict(top_k=dict(top_k=2), top_p=dict(top_p=0.9)).items()}
    return {k: sorted(set(w)) for k, w in words.items()}

def cold(m): return torch.tensor(m.sample_words(constant(0.7, 0.3), [0], 300, temperature=0.2, seed=0)).float().mean()
def banned(m): return m.sample_words(chain(), [1, 2], 8, temperature=0, ban=[0, 3])
def stopped(m):
    whole = m.sample_words(chain(), [1, 2], 8, temperature=0)
    return whole, m.sample_words(chain(), [1, 2], 8, temperature=0, stop=[whole[3]])

def over_and_out(m):
    words = m.sample_words(constant(0.6, 0.4), [0], 200, stop=[1], seed=0)
    return {'shorter than 40 words': len(words) < 40, 'without the stop word': 1 not in words}

def stopped_at_once(m): return m.sample_words(chain(), [1], 5, stop=[0, 1, 2, 3])

def words_read(m):
    model = chain()
    m.sample_words(model, [1, 2, 3, 0, 1], 6, temperature=0)
    return {'the first read': model.read[0], 'words read afterwards, at most 6': sum(t for _, t in model.read[1:]) <= 6}

def seeds(m):
    def text(**kw): return m.sample_words(constant(0.5, 0.5), [0], 40, **kw)
    g = torch.Generator().manual_seed(3)
    a, b = text(seed=g), text(seed=g)
    torch.manual_seed(5); c = text()
    torch.manual_seed(5); d = text()
    state = torch.get_rng_state(); text(seed=3)
    return {'the same seed, the same text': text(seed=3) == text(seed=3), 'another seed, another text': text(seed=3) != text(seed=4), 'a generator of that seed': a == text(seed=3),
            'a generator goes on': a != b, 'without a seed, the global generator': c == d, 'with one, the global generator rests': torch.equal(state, torch.get_rng_state())}

def left_alone(m):
    model = chain().train()
    model.drop.eval()
    model.state = mark = [(torch.tensor([[[2]]]), torch.tensor([[[1]]]))]
    m.sample_words(model, [1, 2], 4, temperature=0)
    return dict(state=model.state is mark, model_in_training=model.training, dropout_in_training=model.drop.training)

def left_alone_after_an_error(m):
    model = chain().train()
    model.state = mark = [(torch.tensor([[[2]]]), torch.tensor([[[1]]]))]
    try: m.sample_words(model, [1, 2], 4, ban=[0, 1, 2, 3])
    except ValueError: return dict(state=model.state is mark, in_training=model.training)

def begins_anew(m):
    model = chain()
    model.state = [(torch.tensor([[[2]]]), torch.tensor([[[1]]]))]
    return m.sample_words(model, [1], 6, temperature=0)

def without_dropout(m): return len({tuple(m.sample_words(chain().train(), [1, 2], 12, temperature=0)) for _ in range(5)})
def no_beginning(m): m.sample_words(chain(), [], 4)
def fewer_than_none(m): m.sample_words(chain(), [1], -1)
def bad_temperature(m): m.sample_words(chain(), [1], 3, temperature=-1)
def all_banned(m): m.sample_words(chain(), [1], 3, ban=[0, 1, 2, 3])

@entry('18.5', level=2, minutes=20, hints=[
    'Read the prompt once. What has to be read for the second word, and where is all that came before?',
    'The helpers of the cell above do the edges: `_numbers` checks the ids and gives them a batch axis, `_last` gives the scores of the next word without the banned ones, `_reading` puts everything back at the end. In between: probabilities, draw, append, and the drawn word is the next input.',
    '`sampling_probs` gets temperature, top_k and top_p, `torch.multinomial` the generator from `_generator(seed)`. A drawn word that is in `stop` ends the loop before it is appended. The next input has shape (1,1); n_words is checked with `_whole`.'],
    why='The state holds what was read, so every step costs one word, however long the text has grown. Everything happens inside `_reading`, because whoever lets a model write in the middle of a training wants its state and its modes back, also after an error.')
def sample_words():
    return [case('at temperature 0, the best word after the last two, each time', best_words, also=(Chain, chain)),
            case('the beginning may be a tensor, the words are ints', of_a_tensor, also=(Chain, chain)),
            case('no words are an empty list', no_words, also=(Chain, chain)),
            case('words are drawn by their probability', frequencies, atol=0.08, also=(Chain, constant)),
            case('top_k and top_p are passed on', filtered, also=(Chain, constant)),
            case('the temperature is passed on', cold, atol=0.05, also=(Chain, constant)),
            case('a banned word never comes, the best of the others does', banned, also=(Chain, chain)),
            case('a stop word ends the text and is not returned', stopped, also=(Chain, chain)),
            case('after a stop word nothing is drawn', over_and_out, also=(Chain, constant)),
            case('a text may end at once', stopped_at_once, also=(Chain, chain)),
            case('the beginning is read once, and then each new word alone', words_read, also=(Chain, chain)),
            case('the draws depend on the seed', seeds, also=(Chain, constant)),
            case('the text begins anew, whatever the model has read before', begins_anew, also=(Chain, chain)),
            case('there is no dropout while it writes', without_dropout, also=(Chain, chain)),
            case('state and modes of the model are what they were', left_alone, also=(Chain, chain)),
            case('and after an error as well', left_alone_after_an_error, also=(Chain, chain)),
            case('nothing to begin with is refused', no_beginning, raises=ValueError, names='ids', also=(Chain, chain)),
            case('fewer than no words are refused', fewer_than_none, raises=ValueError, names='n_words', also=(Chain, chain)),
            case('a bad temperature is refused', bad_temperature, raises=ValueError, names='temperature', also=(Chain, chain)),
            case('banning every word is refused', all_banned, raises=ValueError, names='no word', also=(Chain, chain))]


def beam(m, model, *args, **kwargs): return [(list(w), float(s)) for w, s in m.beam_search(model, *args, **kwargs)]

def one_step(m): return beam(m, chain(), [1, 2], 1, 2)
def greedy(m): return beam(m, chain(), [1, 2], 5, 1)

def trap(m):
    p = torch.full((3, 3, 3), 1/3)
    p[:, 0] = torch.tensor([0.1, 0.5, 0.4]) # after 0 the word 1 is the best
    p[0, 1], p[0, 2] = torch.tensor([0.34, 0.33, 0.33]), torch.tensor([0.9, 0.05, 0.05]) # but only 2 leads somewhere
    return {f'width={k}': beam(m, Chain(p.log()), [0], 2, k)[0] for k in (1, 2)}

def narrow(m): return {f'seed={s}': beam(m, chain(5, s), [1, 2], 6, 3) for s in range(4)}
def everything(m): return beam(m, chain(3), [1, 2], 3, 27)

def true_scores(m):
    model, out = chain(4), []
    for words, score in beam(m, model, [1, 2], 4, 5):
        text, logits = [1, 2, *words], model.logits.detach()
        out.append(score - sum((logits[a, b]*(1 + 0.3*math.cos(place))).log_softmax(0)[w].item() for place, (a, b, w) in enumerate(zip(text, text[1:], text[2:]), 2)))
    return out

def with_ends(m): return beam(m, chain(3), [1, 2], 3, 99, stop=[0])

def all_the_probability(m): return sum(math.exp(s) for _, s in beam(m, chain(3), [1, 2], 4, 999, stop=[0, 1]))
def ends_compete(m): return {f'seed={s}': beam(m, chain(4, s), [1, 2], 5, 3, stop=[0, 3]) for s in range(6)}
def all_end(m):
    model = Chain(torch.tensor([0.98, 0.01, 0.01]).log().expand(3, 3, -1).clone())
    return beam(m, model, [1], 20, 1, stop=[0]), len(model.read)

def without_some(m): return beam(m, chain(4), [1, 2], 3, 4, ban=[0, 2])
def impossible(m):
    logits = chain(3).logits.detach().clone()
    logits[..., 1] = -inf
    return beam(m, Chain(logits), [1, 2], 2, 9)

def few_words(m): return len(beam(m, chain(3), [1], 1, 50)), len(beam(m, chain(3), [1], 2, 50))
def no_steps(m): return beam(m, chain(), [1, 2], 0, 3)
def by_default(m): return len(m.beam_search(chain(), [1, 2], 3))

def kinds(m): return {type(w).__name__ for text, _ in m.beam_search(chain(), [1, 2], 3, 2) for w in text}

def rows_read(m):
    model = chain()
    m.beam_search(model, [1, 2, 3], 5, 3)
    return {'the first read': model.read[0], 'words read afterwards, at most 3 at a time': max(n*t for n, t in model.read[1:]) <= 3}

def model_after(m):
    model = chain().train()
    model.state = mark = [(torch.tensor([[[2]]]), torch.tensor([[[1]]]))]
    m.beam_search(model, [1, 2], 4, 3)
    return dict(state=model.state is mark, in_training=model.training)

def no_width(m): m.beam_search(chain(), [1], 3, 0)
def no_ids(m): m.beam_search(chain(), [], 3)
def negative_words(m): m.beam_search(chain(), [1], -2)

@entry('18.6', level=3, minutes=60, hints=[
    'Leave out `stop` at first. With k beginnings in the batch the model gives (k,c) scores: which numbers decide about the next beginnings, and how do you get from the place of a winner to its row and its word?',
    'Log-probabilities plus the score of each row so far; `topk` of the flattened table; row and word are quotient and remainder by c. The states are picked by the rows of the winners, along axis 1, for every tensor in the state (`apply_nested`), and the words are the next input (k,1).',
    'Texts that end (a stop word, whose probability counts, is not appended) go to a list of their own with their score, and stay in the race for the `width` best places in each round. Texts of probability 0 are left out. Break if none goes on. At the end, those that go on and those that ended, sorted. `_numbers`, `_last` and `_reading` as before; `_whole` for width and n_words.'],
    why='Scores are summed as logarithms in float64, so long texts do not underflow. The states are sorted along with the beginnings, which is the line that everybody forgets: without it a text goes on with the memory of another. A text that has ended keeps its score and has to defend its place against those that go on.')
def beam_search():
    more = Chain, chain, beam
    return [case('one step: the best words with their log-probabilities', one_step, also=more),
            case('a width of 1 takes the best word each time', greedy, also=more),
            case('a first word that is not the best may lead to the best text', trap, also=(Chain, beam)),
            case('the states go along with the beginnings', narrow, also=more),
            case('the scores are the log-probabilities of the whole texts', true_scores, atol=1e-4, also=more),
            case('a beam as wide as there are texts finds all of them, best first', everything, also=more),
            case('a beam wider than there are texts gives those that there are', few_words, also=more),
            case('a stop word ends a text, is not returned, and its probability counts', with_ends, also=more),
            case('the probabilities of all texts, ended or not, add up to 1', all_the_probability, also=more),
            case('texts that have ended keep their place only while they are among the best', ends_compete, also=more),
            case('when no text goes on, the search ends', all_end, also=(Chain, beam)),
            case('banned words never come', without_some, also=more),
            case('a text of probability 0 is none', impossible, also=more),
            case('no words: the empty text, with certainty', no_steps, also=more),
            case('five beginnings are the default', by_default, also=(Chain, chain)),
            case('words are ints', kinds, also=(Chain, chain)),
            case('the beginning is read once, and then one word for each text', rows_read, also=(Chain, chain)),
            case('state and modes of the model are what they were', model_after, also=(Chain, chain)),
            case('a beam of no width is refused', no_width, raises=ValueError, names='width', also=(Chain, chain)),
            case('nothing to begin with is refused', no_ids, raises=ValueError, names='ids', also=(Chain, chain)),
            case('fewer than no words are refused', negative_words, raises=ValueError, names='n_words', also=(Chain, chain))]


RAW, WORDS = randn(2, 12, 4), torch.tensor([[0, 1, 0, 2, 0, 1, 3, 3, 0, 1, 0, 2], [3, 3, 3, 0, 1, 2, 0, 1, 2, 3, 3, 0]])

def first_votes(m): return m.NeuralCache(10, 1.).votes(torch.ones(1, 1, 2), torch.tensor([[7]]))
def by_frequency(m): return m.NeuralCache(50, 0., 1.).votes(RAW, WORDS)
def by_likeness(m): return m.NeuralCache(50, 2.).votes(torch.tensor([[[1., 0.], [0., 1.], [1., 0.]]]), torch.tensor([[5, 6, 5]]))
def short_window(m): return {f'window={k}': m.NeuralCache(k, 0.).votes(RAW, WORDS)[0] for k in (1, 2, 5)}

def votes_in_pieces(m):
    out = {}
    for window in (1, 3, 50):
        cache = m.NeuralCache(window, 0.7)
        pieces = [cache.votes(RAW[:, s], WORDS[:, s]) for s in (slice(0, 5), slice(5, 6), slice(6, 12))]
        out[f'window={window}'] = [torch.cat(v, 1) for v in zip(*pieces)]
    return out

def forgotten(m):
    cache = m.NeuralCache(50, 0.7)
    cache.votes(RAW, WORDS)
    cache.reset()
    p, some = cache.votes(RAW[:1, :3], WORDS[:1, :3]) # another number of rows
    return p, some

def mixture(m):
    cache = m.NeuralCache(50, 0.3, 0.25)
    return cache.mixed(torch.tensor([[2., 2., 1.]]), torch.tensor([[0., 0., 0.5]]), torch.tensor([[False, True, True]]))

def whole_losses(m):
    nll = RAW.abs().sum(-1)
    out = {}
    for window, theta, lam in ((3, 0.5, 0.3), (50, 2., 0.9), (50, 0.3, 0.), (1, 1., 0.2)):
        cache = m.NeuralCache(window, theta, lam)
        out[f'window={window}, theta={theta}, lam={lam}'] = torch.cat([cache.losses(nll[:, s], RAW[:, s], WORDS[:, s]) for s in (slice(0, 5), slice(5, 12))], 1)
    return out

def all_to_the_cache(m):
    cache = m.NeuralCache(50, 0.3, 1.)
    return cache.losses(torch.ones(1, 3), torch.ones(1, 3, 2), torch.tensor([[4, 4, 4]]))

def very_alike(m): return m.NeuralCache(50, 10.).votes(100*RAW[:, :4], WORDS[:, :4])
def half_vectors(m): return m.NeuralCache(50, 1.).votes(RAW.bfloat16(), WORDS)
def hopeless_words(m): return m.NeuralCache(lam=0.5).mixed(torch.tensor([[200., 1000.]]), torch.zeros(1, 2), torch.ones(1, 2, dtype=torch.bool))

def half_losses(m): return m.NeuralCache().mixed(torch.ones(1, 2, dtype=torch.bfloat16), torch.zeros(1, 2), torch.ones(1, 2, dtype=torch.bool))

def memory(m):
    cache = m.NeuralCache(5, 0.3)
    for _ in range(20): cache.votes(RAW, WORDS)
    size = sum(v.numel() for v in vars(cache).values() if isinstance(v, torch.Tensor))
    return {'more than the window is remembered': size > 2*(5 + 12)*(4 + 1)}

def settings(m):
    cache = m.NeuralCache()
    return [cache.window, cache.theta, cache.lam]

def other_rows(m):
    cache = m.NeuralCache()
    cache.votes(RAW, WORDS)
    cache.votes(RAW[:1], WORDS[:1])

def no_window(m): m.NeuralCache(0)
def negative_theta(m): m.NeuralCache(theta=-1.)
def infinite_theta(m): m.NeuralCache(theta=inf)
def too_much_cache(m): m.NeuralCache(lam=1.5)

@entry('18.7', level=3, minutes=50, hints=[
    'For one row, write a table: steps downwards, keys to the right. Which cells may vote, if the key of a step is its vector and its word is the one that came next?',
    'Keys and words of before are put in front of those of this batch. The score of step and key is theta times their product; the age of a key is the place of the step minus its own, and only ages from 1 to window vote. Softmax over the keys, then the sum over those whose word is the target.',
    'A step without any vote gives 0 and False, and not the nan of an empty softmax. Then keep the last `window` keys and words. `mixed` weighs probabilities: where nothing voted the model counts in full, else 1 - lam of it and lam of the cache; add them up as logarithms (`torch.logaddexp`), since the model\'s share may be smaller than any float. Work in float32. A batch with another number of rows is a ValueError that speaks of reset().'],
    why='A step may not see its own key, because that key\'s word is the target: an age of at least 1 is what keeps the cache honest. The softmax takes care of large products. Where nothing has been read yet the model is alone, or the first word would pay for an empty memory.')
def neural_cache():
    return [case('the first word finds nothing to vote', first_votes),
            case('with theta of 0 the cache is the frequency of the word so far', by_frequency),
            case('moments that are alike have more weight', by_likeness),
            case('only the last words within the window vote', short_window),
            case('batches of any width go on where the one before ended', votes_in_pieces),
            case('very large products do not overflow', very_alike),
            case('vectors in bfloat16 are taken in float32', half_vectors),
            case('the mixture: 1 - lam of the model, lam of the cache, and the model alone where nothing voted', mixture),
            case('a word of 200 nats that the cache does not know costs that, and not infinity', hopeless_words),
            case('losses with the cache, from batch to batch', whole_losses),
            case('with lam of 1 the first word has the model alone', all_to_the_cache),
            case('losses in bfloat16 are mixed in float32', half_losses),
            case('reset forgets what was read', forgotten),
            case('no more than the window is remembered', memory),
            case('the defaults', settings),
            case('another number of rows is refused, with what to do', other_rows, raises=ValueError, names='reset()'),
            case('a window of nothing is refused', no_window, raises=ValueError, names='window'),
            case('a negative theta is refused', negative_theta, raises=ValueError, names='theta'),
            case('an infinite theta is refused', infinite_theta, raises=ValueError, names='theta'),
            case('a share above 1 is refused', too_much_cache, raises=ValueError, names='lam')]
