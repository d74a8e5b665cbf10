"""Conditional models: one VAE class, one embedding, p(z|c) that depends on c or does not, and the commands on top of them."""

from __future__ import annotations

import copy
import math
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyro
import pytest
import torch
from estimates import importance
from pyro import poutine
from pyro.infer import SVI, Predictive, Trace_ELBO
from scipy import stats
from torch import Tensor, nn

import pyrovae
from pyrovae import VAE, Dataset, Importance, UserError, commands, runs
from pyrovae.contexts.label import MOST
from pyrovae.contracts import Attribute, DataSpec
from pyrovae.drawing import pictures
from pyrovae.drawing.curves import Curves
from pyrovae.drawing.images import Images
from pyrovae.drawing.portraits import Portrait
from pyrovae.objectives import AnalyticElbo
from pyrovae.runs.opening import open_run

RANDOM = np.random.default_rng(7)
SIZE, LATENTS, EMBEDDED = 4, 2, 3
TWO = (Attribute("class", ("ant", "bee")),)
FACES = (Attribute("subject", ("0", "1", "2")), Attribute("glasses", ("no", "yes")), Attribute("smile", ("no", "some", "yes")))


@pytest.fixture(autouse=True)
def own_param_store():
    with pyro.get_param_store().scope():
        yield


def vae_of(labels: tuple[Attribute, ...] = TWO, seed: int = 0, **options: Any) -> VAE:
    """A small linear conditional model of reals, its maps of the embedding away from 0."""
    torch.manual_seed(seed)
    given = {
        "likelihood": {"name": "normal", "scale": 0.5},
        "network": "linear",
        "context": {"name": "label", "size": EMBEDDED},
        "kind": "reals",
        **options,
    }
    vae = VAE((SIZE,), LATENTS, labels=labels, **given)
    for name, parameter in vae.named_parameters():
        if name.startswith("prior_module"):
            nn.init.normal_(parameter, std=0.3)
    return vae


def labelled(y: Tensor, labels: tuple[Attribute, ...] = TWO, splits: Mapping[str, Tensor] | None = None) -> Dataset:
    """Reals whose mean is the number of their first label; by default every split is the whole."""
    first = y if y.dim() == 1 else y[:, 0]
    x = first[:, None] + 0.3 * torch.randn(len(y), SIZE, generator=torch.Generator().manual_seed(0))
    one = labels[0].name == "class"
    spec = DataSpec((SIZE,), class_names=labels[0].values if one else (), attributes=() if one else labels)
    rows = dict.fromkeys(("train", "valid", "test"), torch.arange(len(y)))
    return Dataset("toy", spec, x, y, splits or rows)


def faces(count: int = 60) -> Dataset:
    """Data with three labels each, every combination among them."""
    i = torch.arange(count)
    return labelled(torch.stack([i % 3, i // 3 % 2, i // 6 % 3], -1), FACES)


# --- one embedding -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prior", ["normal", "laplace", "student_t", "mixture", "flow", "vamp"])
def test_prior_likelihood_and_posterior_share_one_table(prior):
    """A class has one vector; each of the three distributions moves with it, and those of the other class do not."""
    vae = vae_of(prior={"name": prior, "context": "learned"})
    tables = [name for name, module in vae.named_modules() if isinstance(module, nn.Embedding)]
    assert tables == ["context_module.tables.0"]
    table = vae.context_module.tables[0].weight
    y, z, both = torch.randn(2, SIZE), torch.randn(2, LATENTS), torch.tensor([0, 1])
    measured = {
        "p(z|c)": lambda: vae.prior(both).log_prob(z),
        "p(x|z,c)": lambda: vae.likelihood(z, both).log_prob(y),
        "q(z|x,c)": lambda: vae.posterior_of_preprocessed(y, both).log_prob(z),
    }
    before = {name: measure().detach() for name, measure in measured.items()}
    for name, measure in measured.items():
        (gradient,) = torch.autograd.grad(measure()[0], table)
        assert gradient[0].abs().min() > 0, name
        assert gradient[1].abs().max() == 0, name
    with torch.no_grad():
        table[0] += 1
    for name, measure in measured.items():
        moved = (measure() - before[name]).abs()
        assert moved[0] > 1e-4, name
        assert moved[1] == 0, name


def test_a_prior_without_a_context_is_the_same_for_all():
    vae = vae_of()
    for c in (torch.tensor([0, 1, 1]), torch.tensor([1])):
        prior = vae.prior(c)
        assert prior.batch_shape == ()
        torch.testing.assert_close(prior.mean, torch.zeros(LATENTS))
        torch.testing.assert_close(prior.stddev, torch.ones(LATENTS))


def test_a_learned_prior_starts_standard_normal_and_comes_apart():
    """Classes that differ in nothing but their place: a prior that may depend on c takes the difference up."""
    data = labelled(torch.arange(200) % 2)
    torch.manual_seed(0)
    options = {
        "network": "linear",
        "context": "label",
        "kind": "reals",
        "labels": TWO,
        "prior": {"name": "normal", "context": "learned"},
    }
    vae = VAE((SIZE,), LATENTS, {"name": "normal", "scale": 0.3}, **options)
    both = torch.tensor([0, 1])
    start = vae.prior(both)
    assert start.batch_shape == (2,)
    torch.testing.assert_close(start.mean, torch.zeros(2, LATENTS))
    torch.testing.assert_close(start.stddev, torch.ones(2, LATENTS))
    pyrovae.fit(vae, data, epochs=5, batch_size=20, learning_rate=0.01, device="cpu", progress=False)
    means = vae.prior(both).mean
    assert (means[0] - means[1]).norm() > 0.1


def test_several_labels_are_one_embedding():
    """e(c) = (T_glasses[c] + T_smile[c]) / sqrt 2; the label that is left out moves nothing."""
    vae = vae_of(FACES, context={"name": "label", "size": EMBEDDED, "attributes": ["smile", "glasses"]})
    glasses, smile = (table.weight for table in vae.context_module.tables)
    assert (len(glasses), len(smile)) == (2, 3)
    embedding = vae.context_module(torch.tensor([[0, 1, 2], [2, 1, 2], [1, 0, 0]]))
    torch.testing.assert_close(embedding[0], (glasses[1] + smile[2]) / math.sqrt(2))
    torch.testing.assert_close(embedding[2], (glasses[0] + smile[0]) / math.sqrt(2))
    assert torch.equal(embedding[0], embedding[1])
    everything = vae_of(FACES).context_module
    assert [len(table.weight) for table in everything.tables] == [3, 2, 3]


# --- one VAE -------------------------------------------------------------------------------------------------------------


def test_model_and_guide_are_those_of_the_unconditional_vae():
    vae = vae_of(prior={"name": "normal", "context": "learned"})
    x, c = torch.randn(6, SIZE), torch.arange(6) % 2
    guide = poutine.trace(vae.guide).get_trace(x, c)
    z = guide.nodes["z"]["value"]
    model = poutine.trace(poutine.replay(vae.model, trace=guide)).get_trace(x, c)
    torch.testing.assert_close(model.log_prob_sum(), vae.log_joint(x, z, c).sum())
    torch.testing.assert_close(guide.log_prob_sum(), vae.posterior_of_preprocessed(x, c).log_prob(z).sum())
    drawn = Predictive(vae.model, num_samples=5)(None, c)
    assert (drawn["z"].shape, drawn["x"].shape) == ((5, 6, LATENTS), (5, 6, SIZE))
    svi = SVI(vae.model, vae.guide, pyro.optim.Adam({"lr": 1e-3}), Trace_ELBO())
    before = {name: parameter.detach().clone() for name, parameter in vae.named_parameters()}
    svi.step(x, c)
    assert [name for name, parameter in vae.named_parameters() if torch.equal(parameter, before[name])] == []


def test_the_analytic_elbo_has_the_divergence_from_the_prior_of_the_datums_class():
    """The decoder ignores z, so that the loss is -log N(x) + KL(q(z|x,c) || p(z|c)), without noise."""
    vae = vae_of(prior={"name": "normal", "context": "learned"})
    with torch.no_grad():
        vae.decoder.layers[0].weight[:, :LATENTS] = 0
    x, c = torch.randn(8, SIZE), torch.arange(8) % 2
    loss = AnalyticElbo().build(1).differentiable_loss(vae.model, vae.guide, x, c).item()
    with torch.no_grad():
        q, p = vae.posterior_of_preprocessed(x, c), vae.prior(c)
        mean = vae.likelihood(torch.zeros(8, LATENTS), c).mean
    ratio = (q.stddev / p.stddev).double().numpy()
    shift = ((q.mean - p.mean) / p.stddev).double().numpy()
    kl = (0.5 * (ratio**2 + shift**2 - 1) - np.log(ratio)).sum()
    log_likelihood = stats.norm.logpdf(x.double().numpy(), mean.double().numpy(), 0.5).sum()
    assert loss == pytest.approx(kl - log_likelihood, rel=1e-5)  # float32


@pytest.mark.parametrize(
    ("objective", "prior", "options"),
    [
        ("elbo", "normal", {"kl_weight": 0.5}),
        ("elbo-analytic", "normal", {}),
        ("iwae", "mixture", {"particles": 3}),
        ("tracegraph", "bernoulli", {}),
    ],
)
def test_objectives_train_conditional_models(objective, prior, options):
    data = labelled(torch.arange(80) % 2)
    vae = vae_of(prior={"name": prior, "context": "learned"})
    result = pyrovae.fit(
        vae, data, epochs=12, batch_size=20, learning_rate=0.02, objective=objective, device="cpu", progress=False, **options
    )
    scores = [row["valid_elbo"] for row in result.history]
    assert np.isfinite(scores).all()
    assert max(scores[-3:]) > scores[0]


def test_evidence_of_a_class_is_that_of_the_unconditional_model_that_it_leaves():
    """With c fixed the embedding is a constant: a model without a context, its biases moved, has the same numbers."""
    vae = vae_of()
    x = torch.randn(9, SIZE, generator=torch.Generator().manual_seed(2))
    for code in (0, 1):
        alone = VAE((SIZE,), LATENTS, {"name": "normal", "scale": 0.5}, network="linear", kind="reals")
        embedding = vae.context_module.tables[0].weight[code].detach()
        with torch.no_grad():
            for own, other, seen in ((alone.encoder, vae.encoder, SIZE), (alone.decoder, vae.decoder, LATENTS)):
                weight, bias = other.layers[0].weight, other.layers[0].bias
                own.layers[0].weight.copy_(weight[:, :seen])
                own.layers[0].bias.copy_(bias + weight[:, seen:] @ embedding)
        given = importance(vae, x, torch.full((9,), code), samples=300, seed=1)
        expected = importance(alone, x, samples=300, seed=1)
        torch.testing.assert_close(given.estimate, expected.estimate, rtol=1e-5, atol=1e-5)  # float32
        # And both are the density of x = W z + b + a(c) + noise.
        weight, bias = (t.detach().double().numpy() for t in (alone.decoder.layers[0].weight, alone.decoder.layers[0].bias))
        truth = stats.multivariate_normal(bias, weight @ weight.T + 0.25 * np.eye(SIZE)).logpdf(x.numpy())
        ratio = np.exp(given.estimate.numpy() - truth)
        assert (np.abs(ratio - 1) < 5 * given.monte_carlo_error.numpy()).all()


def test_a_conditional_model_needs_labels_and_another_takes_none():
    with pytest.raises(UserError, match="context='label': needs labels"):
        importance(vae_of(), torch.zeros(2, SIZE), samples=2)
    alone = VAE((SIZE,), LATENTS, "normal", network="linear", kind="reals")
    with pytest.raises(UserError, match="a context was given to a VAE that has none"):
        importance(alone, torch.zeros(2, SIZE), torch.tensor([0, 1]), samples=2)


# --- what can be conditioned on ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("context", "labels", "message"),
    [
        ({}, (), "context='label': the data have no labels; .*context='none'"),
        ({}, (Attribute("class", ("a",)),), r"context='label': class has one value \(a\)"),
        ({}, (*FACES, Attribute("hat", ("no",))), r"context='label': hat has one value \(no\).*context\.attributes"),
        ({"attributes": ["beard"]}, FACES, r"context\.attributes='beard': .*they have subject, glasses, smile"),
        ({"attributes": []}, FACES, r"context\.attributes=\[\]: needs a list of names"),
        ({"attributes": "smile"}, FACES, r"context\.attributes='smile': needs a list of names"),
        ({"size": 0}, FACES, r"context\.size=0: needs an integer"),
    ],
)
def test_contexts_that_cannot_be_are_refused(context, labels, message):
    with pytest.raises(UserError, match=message):
        VAE((SIZE,), LATENTS, "normal", kind="reals", context={"name": "label", **context}, labels=labels)


def test_a_label_with_one_value_may_be_left_out():
    labels = (*FACES, Attribute("hat", ("no",)))
    context = VAE((SIZE,), LATENTS, "normal", kind="reals", context={"name": "label", "attributes": ["smile"]}, labels=labels)
    assert list(context.context_module.each()) == ["smile=no", "smile=some", "smile=yes"]


@pytest.mark.parametrize(
    ("text", "codes"),
    [("glasses=yes,smile=some", [0, 1, 1]), (" smile = no , glasses = no ", [0, 0, 0])],
)
def test_given_names_attributes(text, codes):
    vae = vae_of(FACES, context={"name": "label", "attributes": ["glasses", "smile"]})
    assert vae.context_module.given(text).tolist() == codes


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("glasses=yes", "smile is one of no, some, yes; give glasses=...,smile=..."),
        ("glasses=maybe,smile=no", "glasses is one of no, yes"),
        ("yes", "glasses is one of no, yes"),
        ("glasses=yes,smile=no,subject=1", "not conditioned on subject; it is on glasses, smile"),
    ],
)
def test_given_attributes_that_are_none_are_refused(text, message):
    vae = vae_of(FACES, context={"name": "label", "attributes": ["glasses", "smile"]})
    with pytest.raises(UserError) as refused:
        vae.context_module.given(text)
    assert str(refused.value).startswith(f"given='{text}': ")
    assert message in str(refused.value)


def test_given_takes_names_with_commas_and_equals_signs():
    vae = vae_of((Attribute("class", ("a,b", "x=y", "c")),))
    assert [vae.context_module.given(text).item() for text in ("a,b", "x=y", "c", "class=c")] == [0, 1, 2, 2]
    with pytest.raises(UserError, match="given='d': class is one of a,b, x=y, c; give one of them"):
        vae.context_module.given("d")


def test_contexts_that_had_no_training_data_are_neither_drawn_nor_listed_nor_taken():
    vae = vae_of((Attribute("class", ("a", "b", "c", "d")),))
    module = vae.context_module
    assert list(module.each()) == ["a", "b", "c", "d"]
    module.initialise(torch.tensor([3, 1, 1, 1]))
    assert {name: c.item() for name, c in module.each().items()} == {"b": 1, "d": 3}
    for given, share in ((None, 3 / 4), ("uniform", 1 / 2)):
        drawn = module.draw(4000, 0, given)
        counts = drawn.bincount(minlength=4)
        assert counts[[0, 2]].tolist() == [0, 0]
        assert abs(counts[1].item() - 4000 * share) < 4 * math.sqrt(4000 * share * (1 - share))
        assert torch.equal(drawn, module.draw(4000, 0, given))
    module.check(torch.tensor([1, 3]))
    with pytest.raises(UserError, match=r"context='label': class c has no training data.*the training data have b, d"):
        module.check(torch.tensor([1, 2]))
    with pytest.raises(UserError, match=r"given='a': class a has no training data.* have b, d$"):
        module.given("a")
    with pytest.raises(UserError, match=r"class has code 4, the values are 0\.\.3"):
        module.check(torch.tensor([4]))


def unequal_faces(count: int = 600) -> Dataset:
    """Labels that depend on each other: whoever smiles wears no glasses, and subject 2 never smiles."""
    random = np.random.default_rng(4)
    subject = random.choice(3, count, p=[0.7, 0.25, 0.05])
    glasses = (random.random(count) < 0.2).astype(int)
    smile = np.where((glasses == 1) | (subject == 2), 0, random.choice(3, count, p=[0.1, 0.6, 0.3]))
    return labelled(torch.tensor(np.stack([subject, glasses, smile], -1)), FACES)


def tallied(rows: np.ndarray) -> dict[tuple[int, ...], int]:
    found, counts = np.unique(rows, axis=0, return_counts=True)
    return {tuple(row): int(count) for row, count in zip(found.tolist(), counts, strict=True)}


@pytest.mark.parametrize("attributes", [None, ["smile", "glasses"], ["subject"]], ids=str)
@pytest.mark.parametrize("given", [None, "uniform"])
def test_labels_are_drawn_as_often_together_as_in_the_training_data(attributes, given):
    """Pearson's chi-square over the combinations of the data; those that they lack are never drawn."""
    data = unequal_faces()
    vae = vae_of(FACES, context={"name": "label", "attributes": attributes})
    vae.context_module.initialise(data.y)
    chosen = [i for i, label in enumerate(FACES) if attributes is None or label.name in attributes]
    truth = tallied(data.y.numpy()[:, chosen])
    drawn = tallied(vae.context_module.draw(20_000, 1, given).numpy()[:, chosen])
    assert drawn.keys() <= truth.keys()
    expected = np.array(list(truth.values())) if given is None else np.ones(len(truth))
    observed = [drawn.get(combination, 0) for combination in truth]
    assert stats.chisquare(observed, expected / expected.sum() * 20_000).pvalue > 1e-4
    # The other hypothesis is far away: the test would see one drawn for the other.
    other = np.ones(len(truth)) if given is None else np.array(list(truth.values()))
    assert stats.chisquare(observed, other / other.sum() * 20_000).pvalue < 1e-12


def test_samples_of_a_run_have_the_labels_of_its_training_data(make_run, tmp_path, cli):
    """19 of 20 data are ants; the command line draws as many, and half of either where it is asked to."""
    y = (np.arange(400) % 20 == 0).astype(int)
    np.savez(tmp_path / "rare.npz", x=y[:, None] + RANDOM.normal(size=(400, SIZE)), y=np.array(["ant", "bee"])[y])
    run = make_run("rare", data={"name": str(tmp_path / "rare.npz")}, likelihood="normal", context="label")
    training = open_run(run, None, None, "cpu").dataset.train.y
    share = training.double().mean().item()
    for options, expected in (((), share), (("--given", "uniform"), 0.5)):
        answer = cli("sample", run, "--count", "4000", "--out", tmp_path / "x.npz", *options)
        assert (answer.code, answer.err) == (0, "")
        with np.load(tmp_path / "x.npz") as written:
            bees = int(written["c"].sum())
        assert stats.binomtest(bees, 4000, expected).pvalue > 1e-4
    assert stats.binomtest(2000, 4000, share).pvalue < 1e-12


def test_a_class_may_be_called_uniform():
    module = vae_of((Attribute("class", ("uniform", "suit")),)).context_module
    module.initialise(torch.tensor([0, 1, 1]))
    assert module.draw(50, 0, "uniform").tolist() == [0] * 50


def test_the_frequencies_are_saved_loaded_copied_and_shown_anew(tmp_path):
    vae, data = vae_of(FACES), unequal_faces()
    vae.prepare(data.spec, data.x)
    vae.initialise(data.x, data.y)
    for again in (pyrovae.load(pyrovae.save(vae, tmp_path / "saved")), copy.deepcopy(vae)):
        assert torch.equal(again.context_module.draw(300, 2), vae.context_module.draw(300, 2))
    other = faces()
    vae.initialise(other.x, other.y)  # as often as it is shown: the frequencies are those of the last training data
    assert tallied(torch.cat([vae.context_module.combinations, vae.context_module.counts[:, None]], 1).numpy()).keys() == {
        (*combination, count) for combination, count in tallied(other.y.numpy()).items()
    }


def without_frequencies(run: Path, folder: Path) -> Path:
    """A run as it was written before its frequencies were kept."""
    shutil.copytree(run, folder)
    state = runs.load_state(folder)
    for name in ("context_module.combinations", "context_module.counts"):
        del state.weights[name], state.best_weights[name]
    runs.save_state(folder, state, runs.read_config(folder))
    return folder


def test_runs_without_frequencies_open_and_say_that_they_draw_uniformly(run_of, tmp_path):
    old = without_frequencies(run_of("none"), tmp_path / "old")
    with pytest.warns(UserWarning, match="saved without the frequencies of the labels .* each label is drawn uniformly"):
        drawn = commands.sample(old, count=5000, device="cpu").c
    assert stats.chisquare(drawn.bincount(minlength=10)).pvalue > 1e-4
    assert set(commands.sample(old, count=20, given="uniform", device="cpu").c.tolist()) <= set(range(10))  # and not a word
    split = {"data": "digits", "limit": 20, "device": "cpu", "estimator": Importance(samples=5)}
    assert commands.evaluate(old, **split).log_evidence == commands.evaluate(run_of("none"), **split).log_evidence


def test_resuming_a_run_without_frequencies_records_them(run_of, tmp_path):
    old = without_frequencies(run_of("none"), tmp_path / "old")
    resumed = commands.resume(old, epochs=2, device="cpu", progress=False).vae
    whole = commands.resume(shutil.copytree(run_of("none"), tmp_path / "new"), epochs=2, device="cpu", progress=False).vae
    assert {name: t.tolist() for name, t in resumed.state_dict().items()} == {
        name: t.tolist() for name, t in whole.state_dict().items()
    }
    assert len(commands.sample(old, count=20, device="cpu").c) == 20


def test_frequencies_that_belong_to_another_model_are_refused(run_of, tmp_path):
    folder = shutil.copytree(run_of("none"), tmp_path / "run")
    weights = pyrovae.load(folder).state_dict()
    combinations, counts = (f"context_module.{name}" for name in ("combinations", "counts"))
    for wrong in (
        {combinations: torch.zeros(10, 2, dtype=torch.uint8)},
        {combinations: torch.full((10, 1), 10, dtype=torch.uint8)},
        {counts: torch.ones(2, dtype=torch.long)},
        {counts: torch.zeros(10, dtype=torch.long)},
        {counts: torch.ones(10) / 10},
    ):
        runs.save_weights(folder, {**weights, **wrong}, runs.read_config(folder))
        with pytest.raises(UserError, match=r"does not fit config\.yaml \(.* are no frequencies of its labels"):
            pyrovae.load(folder)


def test_long_lists_of_values_are_cut_short():
    module = vae_of((Attribute("class", tuple(f"v{i}" for i in range(300))),)).context_module
    with pytest.raises(UserError, match=r"class is one of v0, v1, .*v9, \.\.\. \(300 in all\); give one of them$"):
        module.given("v300")
    module.initialise(torch.arange(299))
    with pytest.raises(
        UserError, match=r"the training data have v0, .*v9, \.\.\. \(299 in all\); leave out the data that have it, 2 here"
    ):
        module.check(torch.tensor([5, 299, 299]))


def test_contexts_are_every_combination_of_what_was_seen():
    vae = vae_of(FACES, context={"name": "label", "attributes": ["smile", "glasses"]})
    vae.context_module.initialise(torch.tensor([[0, 0, 2], [1, 1, 0]]))
    found = {name: c.tolist() for name, c in vae.context_module.each().items()}
    assert found == {
        "glasses=no,smile=no": [0, 0, 0],
        "glasses=no,smile=yes": [0, 0, 2],
        "glasses=yes,smile=no": [0, 1, 0],
        "glasses=yes,smile=yes": [0, 1, 2],
    }
    many = tuple(Attribute(f"a{i}", ("no", "yes")) for i in range(9))
    assert 2 ** len(many) > MOST
    with pytest.raises(UserError, match=r"512 combinations of values are too many.*context\.attributes"):
        vae_of(many).context_module.each()


# --- runs ----------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run_of(make_run):
    """Tiny runs on the digits under their class, p(z|c) as asked for; not to be written to."""

    def make(prior: str = "none") -> Path:
        options = {"context": "label", "likelihood": "binomial", "prior": {"name": "normal", "context": prior}}
        return make_run(f"conditional-{prior}", **options)

    return make


@pytest.fixture(scope="module")
def faces_file(tmp_path_factory) -> Path:
    """An archive with three labels per datum."""
    data, path = faces(120), tmp_path_factory.mktemp("faces") / "faces.npz"
    text = np.stack([[label.values[code] for code in data.y[:, i]] for i, label in enumerate(FACES)], -1)
    np.savez(path, x=data.x.numpy(), y=text, attributes=np.array([label.name for label in FACES]))
    return path


@pytest.fixture(scope="module")
def faces_run(make_run, faces_file) -> Path:
    """A run on those data, conditioned on two of the labels; not to be written to."""
    context = {"name": "label", "attributes": ["glasses", "smile"]}
    return make_run("faces", data=str(faces_file), likelihood="normal", context=context)


@pytest.mark.parametrize("prior", ["none", "learned"])
def test_every_command_works_on_a_conditional_run(run_of, prior, tmp_path, cli):
    run = run_of(prior)
    assert pyrovae.load(run).prior(torch.tensor([0, 1])).batch_shape == (() if prior == "none" else (2,))
    found = commands.evaluate(pyrovae.load(run), Importance(samples=5), data="digits", limit=20, device="cpu")
    digits = pyrovae.load_dataset("digits")
    assert found.quantity == "log p(x|c)"
    assert "log p(x|c)" in found.table()
    rows = digits.test.subset(20, 0)
    each = importance(pyrovae.load(run), rows.x, rows.y, samples=5, index=rows.index)
    assert found.log_evidence.mean == pytest.approx(each.mean)
    encoding = commands.encode(run, split="test")
    with torch.no_grad():
        q = pyrovae.load(run).posterior_of_preprocessed(digits.test.x.float(), digits.test.y)
    torch.testing.assert_close(encoding.mean, q.mean)
    answer = cli("sample", run, "--count", "12", "--given", "7", "--out", tmp_path / "x.npz")
    assert (answer.code, answer.err) == (0, "")
    with np.load(tmp_path / "x.npz") as written:
        assert written["c"].tolist() == [7] * 12
        means = commands.decode(run, torch.tensor(written["z"]), given="7")
        np.testing.assert_allclose(written["mean"], means, rtol=1e-5, atol=1e-4)


def test_the_model_saved_and_loaded_is_the_same(run_of, tmp_path):
    vae = pyrovae.load(run_of("learned"))
    again = pyrovae.load(pyrovae.save(vae, tmp_path / "saved"))
    assert again.spec.labels == vae.spec.labels == (Attribute("class", tuple(map(str, range(10)))),)
    assert {name: t.tolist() for name, t in again.state_dict().items()} == {
        name: t.tolist() for name, t in vae.state_dict().items()
    }
    assert list(again.context_module.each()) == list(map(str, range(10)))


def test_resuming_is_training_in_one_go(make_run, tmp_path, faces_file):
    options = {
        "data": str(faces_file),
        "likelihood": "normal",
        "context": "label",
        "prior": {"name": "mixture", "context": "learned"},
    }
    tiny = {"network": "linear", "latent_dim": 2, "device": "cpu", "progress": False}
    whole = commands.train(**options, **tiny, epochs=3, out=str(tmp_path / "whole")).vae.state_dict()
    commands.train(**options, **tiny, epochs=1, out=str(tmp_path / "parts"))
    found = commands.resume(tmp_path / "parts", epochs=3, device="cpu", progress=False).vae.state_dict()
    assert found.keys() == whole.keys()
    assert all(torch.equal(found[name], whole[name]) for name in whole)


def test_samples_follow_the_context(run_of, faces_run):
    run = run_of("none")
    first, other = (commands.sample(run, count=5, given=digit, seed=3) for digit in ("1", "8"))
    assert torch.equal(first.z, other.z)  # p(z) does not depend on c, and the noise is the same
    assert not torch.equal(first.mean, other.mean)
    free = commands.sample(run, count=200)
    assert set(free.c.tolist()) == set(range(10))
    again = commands.sample(faces_run, count=7, given="glasses=yes,smile=some")
    assert again.c[:, 1:].tolist() == [[1, 1]] * 7
    assert again.x.shape == (7, SIZE)


@pytest.mark.parametrize(("given", "message"), [("11", "class is one of 0, 1, 2"), ("", "class is one of")])
def test_given_classes_that_are_none_are_refused(cli, run_of, given, message):
    answer = cli("sample", run_of(), "--given", given)
    assert answer.code == 2
    assert message in answer.err
    assert answer.err.count("\n") == 1


def test_given_without_a_context_is_refused(cli, digits_run):
    answer = cli("sample", digits_run, "--given", "7")
    assert answer.code == 2
    assert answer.err == (
        "pyrovae sample: error: --given 7: the model has no context; train one with --context label, or leave --given out\n"
    )
    with pytest.raises(UserError, match="given='7': the model has no context"):
        commands.decode(digits_run, torch.zeros(3, 2), given="7")


def test_decoding_a_conditional_model_needs_a_context(run_of):
    with pytest.raises(UserError, match="context='label': needs labels"):
        commands.decode(run_of(), torch.zeros(3, 2))


# --- other data ----------------------------------------------------------------------------------------------------------


def test_labels_of_other_data_are_taken_by_name(tmp_path, make_run):
    """The codes of two data sets differ where one lacks a class; the names decide."""
    names, rng = np.array(["ant", "bee", "cat"]), np.random.default_rng(0)
    y = np.arange(90) % 3
    np.savez(tmp_path / "three.npz", x=y[:, None] + 0.1 * rng.normal(size=(90, SIZE)), y=names[y])
    run = make_run("by-name", data=str(tmp_path / "three.npz"), likelihood="normal", context="label", epochs=2)
    x = rng.normal(size=(12, SIZE)).astype("float32")
    np.savez(tmp_path / "two.npz", x=x, y=np.array(["cat", "bee"] * 6))  # codes 1, 0 of its own
    opened = open_run(run, str(tmp_path / "two.npz"), None, "cpu")
    assert opened.dataset.y.tolist() == [2, 1] * 6
    assert opened.dataset.spec.class_names == ("ant", "bee", "cat")
    found = commands.evaluate(run, Importance(samples=4), data=str(tmp_path / "two.npz"), split="all")
    vae = pyrovae.load(run)
    each = importance(vae, torch.tensor(x), torch.tensor([2, 1] * 6), samples=4)
    assert found.log_evidence.mean == pytest.approx(each.mean)
    assert commands.encode(vae, data=str(tmp_path / "two.npz")).y.tolist() == [2, 1] * 6

    np.savez(tmp_path / "dog.npz", x=x, y=np.array(["cat", "dog"] * 6))
    with pytest.raises(UserError, match=r"data='.*dog\.npz': class dog is unseen: the model was trained with ant, bee, cat"):
        commands.evaluate(run, data=str(tmp_path / "dog.npz"))
    np.save(tmp_path / "none.npy", x)
    with pytest.raises(UserError, match=r"data='.*none\.npy': has no labels, and the model is conditioned on them"):
        commands.evaluate(run, data=str(tmp_path / "none.npy"))


def test_attributes_of_other_data_are_taken_by_name(tmp_path, faces_run, faces_file):
    with np.load(faces_file) as arrays:
        x, y = arrays["x"], arrays["y"]
    np.savez(tmp_path / "moved.npz", x=x, y=y[:, [2, 0, 1]], attributes=np.array(["smile", "subject", "glasses"]))
    moved = open_run(faces_run, str(tmp_path / "moved.npz"), None, "cpu").dataset
    assert torch.equal(moved.y, open_run(faces_run, None, None, "cpu").dataset.y)
    assert moved.spec.attributes == FACES
    np.savez(tmp_path / "fewer.npz", x=x, y=y[:, :2], attributes=np.array(["subject", "glasses"]))
    with pytest.raises(UserError, match=r"data='.*fewer\.npz': has no label smile"):
        commands.evaluate(faces_run, data=str(tmp_path / "fewer.npz"))


@pytest.mark.parametrize("where", ["valid", "test"])
def test_a_class_without_training_data_is_refused_before_training(tmp_path, where):
    x = np.random.default_rng(0).normal(size=(20, SIZE)).astype("float32")
    labels = {part: np.array(["ant", "bee"] * 10) for part in ("train", "valid", "test")}
    labels[where][3] = "cat"
    np.savez(tmp_path / "x.npz", **dict.fromkeys(labels, x), **{f"y_{part}": y for part, y in labels.items()})
    with pytest.raises(UserError, match=r"context='label': class cat has no training data.*ant, bee"):
        commands.train(
            data=str(tmp_path / "x.npz"),
            likelihood="normal",
            context="label",
            network="linear",
            latent_dim=2,
            epochs=1,
            out=str(tmp_path / "run"),
            progress=False,
        )
    assert not (tmp_path / "run").exists()


# --- figures -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def drawn(monkeypatch) -> dict[str, Any]:
    """What the figures decode, and the rows that they show, by title."""
    kept: dict[str, Any] = {"decoded": [], "rows": {}}
    decode = VAE.decode

    def keep_decoded(vae: VAE, z: Tensor, c: Tensor | None = None) -> Tensor:
        kept["decoded"].append((z, c))
        return decode(vae, z, c)

    for kind in (Images, Curves):
        draw_rows = kind.rows

        def keep_rows(
            portrait: Portrait, rows: dict[str, Tensor], heads: list[str], title: str, draw_rows: Any = draw_rows
        ) -> Any:
            kept.update(rows=rows, heads=heads, title=title)
            return draw_rows(portrait, rows, heads, title)

        monkeypatch.setattr(kind, "rows", keep_rows)
    monkeypatch.setattr(VAE, "decode", keep_decoded)
    return kept


@pytest.mark.parametrize("prior", ["none", "learned"])
def test_classes_share_their_noise_along_a_column(run_of, drawn, prior):
    opened = open_run(run_of(prior), None, None, "cpu")
    pictures.pictures(opened, 3, only=["classes"])
    assert list(drawn["rows"]) == [str(digit) for digit in range(10)]
    latents = torch.stack([z for z, _ in drawn["decoded"]])
    codes = torch.stack([c for _, c in drawn["decoded"]])
    assert codes.tolist() == [[digit] * Images.shown for digit in range(10)]
    assert len(latents[0].unique(dim=0)) == Images.shown  # each column its own
    with torch.no_grad():
        p = opened.vae.prior(codes)
        noise = (latents - p.mean) / p.stddev
    torch.testing.assert_close(noise, noise[:1].expand_as(noise), rtol=1e-4, atol=1e-4)  # float32
    assert (prior == "none") == torch.equal(latents, latents[:1].expand_as(latents))
    assert len({picture.numpy().tobytes() for picture in (row[0] for row in drawn["rows"].values())}) == 10


def test_relabelled_data_keep_their_latents(run_of, drawn):
    opened = open_run(run_of("none"), None, None, "cpu")
    pictures.pictures(opened, 3, only=["relabelled"])
    assert drawn["heads"] == [str(digit) for digit in opened.dataset.test.subset(Images.shown, 3).y.tolist()]
    data, *others = drawn["rows"].items()
    assert data[0] == "data"
    assert [name for name, _ in others] == [str(digit) for digit in range(10)]
    shown = opened.dataset.test.subset(Images.shown, 3)
    torch.testing.assert_close(data[1], shown.x.float())
    with torch.no_grad():
        own = opened.vae.posterior_of_preprocessed(shown.x.float(), shown.y).mean
    for z, _ in drawn["decoded"]:
        torch.testing.assert_close(z, own)
    for column, code in enumerate(shown.y.tolist()):  # under its own label it is the ordinary reconstruction
        with torch.no_grad():
            expected = opened.vae.decode(own[column : column + 1], torch.tensor([code]))[0]
        torch.testing.assert_close(others[code][1][column], expected)


def test_figures_of_attributes_have_a_row_for_each_combination(faces_run, drawn, tmp_path):
    paths = commands.figures(faces_run, only="classes,relabelled", out=str(tmp_path))
    assert {path.name for path in paths} == {"classes.png", "relabelled.png"}
    combinations = [f"glasses={g},smile={s}" for g in ("no", "yes") for s in ("no", "some", "yes")]
    assert list(drawn["rows"]) == ["data", *combinations]


def test_pictures_say_that_they_are_conditional(run_of, digits_run, tmp_path, monkeypatch):
    titles, captions = [], []

    def keep(path, figure, *home):
        titles.append([axes.get_title(loc="left") for axes in figure.axes if axes.get_title(loc="left")])
        captions.append([text.get_text() for text in figure.axes[0].texts])
        return path

    monkeypatch.setattr(commands, "_write_figure", keep)
    run = run_of()
    commands.sample(run, count=4, given="7", out=tmp_path / "sevens.png")
    drawn = commands.sample(run, count=4, out=tmp_path / "all.png")
    commands.sample(run_of("learned"), count=4, given="3", out=tmp_path / "threes.png")
    commands.sample(digits_run, count=4, out=tmp_path / "plain.png")
    draws = "draws x ~ p(x|z,c),\nthe same z and c"
    assert titles == [
        ["means E[x|z,c], z ~ p(z),\ngiven c = 7", draws],
        ["means E[x|z,c], z ~ p(z),\ngiven the c above each", draws],
        ["means E[x|z,c], z ~ p(z|c),\ngiven c = 3", draws],
        ["means E[x|z], z ~ p(z)", "draws x ~ p(x|z), the same z"],
    ]
    assert captions == [[], [str(code) for code in drawn.c.tolist()], [], []]


def test_every_conditional_picture_names_what_is_given(run_of, tmp_path, monkeypatch):
    figures = {}

    def keep(path, figure, *home):
        figures[path.stem] = figure
        return path

    monkeypatch.setattr(commands, "_write_figure", keep)
    run = run_of()
    commands.figures(run, only="reconstructions,interpolation,classes,relabelled", out=tmp_path, seed=3)
    shown = open_run(run, None, None, "cpu").dataset.test.subset(Images.shown, 3)
    heads = [str(digit) for digit in shown.y.tolist()]
    for name in ("reconstructions", "relabelled"):
        assert [text.get_text() for text in figures[name].axes[0].get_xticklabels()] == heads
    assert [text.get_text() for text in figures["classes"].axes[0].get_yticklabels()] == [str(digit) for digit in range(10)]
    path = figures["interpolation"]
    (first,), (), (last,) = ([text.get_text() for text in axis.get_xticklabels()] for axis in path.axes)
    assert first == last  # a line has one context: it runs between two data of the same
    assert first.removeprefix("c = ") in heads
    assert path.get_suptitle().endswith(f"given {first}")


def test_figures_of_contexts_are_refused_without_one(cli, digits_run, tmp_path):
    answer = cli("figures", digits_run, "--only", "classes", "--out", tmp_path / "out")
    assert answer.code == 2
    assert answer.err.startswith("pyrovae figures: error: --only classes: needs a conditional model")
    assert not (tmp_path / "out").exists()


def test_labels_in_another_order_are_not_trained_on():
    """The codes of the data would mean other values than those of the model."""
    data = labelled(torch.arange(40) % 2)
    swapped = replace(data, spec=replace(data.spec, class_names=("bee", "ant")))
    with pytest.raises(UserError, match="labels"):
        pyrovae.fit(vae_of(), swapped, epochs=1, device="cpu", progress=False)
    without = replace(data, y=None, spec=replace(data.spec, class_names=()))
    with pytest.raises(UserError, match="labels"):
        pyrovae.fit(vae_of(), without, epochs=1, device="cpu", progress=False)
