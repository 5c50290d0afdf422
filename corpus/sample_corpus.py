"""The built-in data set `sample`: film reviews written by a small grammar, with the sentences that decide marked.

Nothing is downloaded, and the truth is known: a review is positive or negative because of what its *writer* says about
*this* film, and `SampleReview.evidence` tells where in the text that is said. Everything else is beside the point:

    neutral     plot, cast, setting, production: the bulk of a review
    reported    what others say about this film             "My aunt would not call this film dull."
    elsewhere   what anyone says about another work        "If you ask me, the sequel fell flat."
    expected    what was expected, promised or announced    "I had expected something superb."
    plot        judgements inside the story                 "In one scene Marta sits through a dreadful concert."

The same words of praise and blame stand in all of them, and their polarity there is drawn by a coin that does not know
the label; the writer's own sentences often turn a word round ("There is nothing dull about this film.") or give way
before they judge ("Although the music is superb, the film as a whole falls flat."). Counting words therefore says
little, reading sentences says all. With the default sizes (seeds 1 to 3) a review has 9.5 sentences and 100 words on
average, 17 to 18% of its sentences decide, and a logistic regression on TF-IDF is right in 67 to 70% of the test
reviews with single words, in 70 to 72% with word pairs as well.

Review number k of a split depends on (seed, split, k) alone, not on how many others are written, and only on
`random.Random.random`, the one method whose values Python promises to keep from version to version.

The file reads downwards: words, sentences about the film, opinions, and then the functions that put them together.
In a template `{slot}` is filled from the table of that name and `a(n)` becomes a or an.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import NamedTuple

TRAIN_REVIEWS = 4000
TEST_REVIEWS = 1000
UNLABELLED_REVIEWS = 1000
FEWEST_SENTENCES = 2
MOST_SENTENCES = 25

PRAISE, BLAME = 1, -1
MILD, STRONG = 1, 2


class Opinion(NamedTuple):
    """A judgement: its polarity (PRAISE or BLAME) and its strength (MILD or STRONG)."""

    polarity: int
    strength: int


STARS: dict[Opinion, tuple[int, ...]] = {
    Opinion(BLAME, STRONG): (1, 2),
    Opinion(BLAME, MILD): (3, 4),
    Opinion(PRAISE, MILD): (7, 8),
    Opinion(PRAISE, STRONG): (9, 10),
}

Options = tuple[str, ...]

# fmt: off
# --- words of praise and blame ----------------------------------------------------------------------------------------

ADJECTIVES: dict[Opinion, Options] = {
    Opinion(PRAISE, STRONG): (
        "superb", "brilliant", "magnificent", "outstanding", "wonderful", "marvellous", "excellent", "unforgettable",
        "splendid", "dazzling",
    ),
    Opinion(PRAISE, MILD): (
        "enjoyable", "engaging", "entertaining", "satisfying", "pleasing", "good", "appealing", "rewarding",
        "absorbing", "gripping",
    ),
    Opinion(BLAME, MILD): (
        "dull", "boring", "tedious", "tiresome", "weak", "disappointing", "poor", "bland", "lifeless", "feeble",
    ),
    Opinion(BLAME, STRONG): (
        "awful", "dreadful", "terrible", "appalling", "abysmal", "atrocious", "horrible", "wretched", "hopeless",
        "unbearable",
    ),
}

NOUNS: dict[Opinion, Options] = {
    Opinion(PRAISE, STRONG): ("a masterpiece", "a triumph", "a treasure", "a gem", "a small miracle", "a sheer joy"),
    Opinion(PRAISE, MILD): ("a fine achievement", "a solid piece of work", "a success", "a treat", "a decent effort"),
    Opinion(BLAME, MILD): ("a disappointment", "a missed opportunity", "a letdown", "a bit of a bore", "a mess"),
    Opinion(BLAME, STRONG): (
        "a disaster", "an ordeal", "a catastrophe", "a waste of time", "an embarrassment", "a fiasco",
    ),
}

VERBS: dict[Opinion, Options] = {  # present/past
    Opinion(PRAISE, STRONG): (
        "works beautifully/worked beautifully", "succeeds on every level/succeeded on every level",
        "shines from start to finish/shone from start to finish", "takes the breath away/took the breath away",
    ),
    Opinion(PRAISE, MILD): (
        "works/worked", "holds together well/held together well", "keeps its promise/kept its promise",
        "does its job nicely/did its job nicely", "hits the mark/hit the mark",
    ),
    Opinion(BLAME, MILD): (
        "falls flat/fell flat", "drags/dragged", "runs out of ideas/ran out of ideas",
        "misses the mark/missed the mark", "outstays its welcome/outstayed its welcome",
    ),
    Opinion(BLAME, STRONG): (
        "fails on every level/failed on every level", "falls apart completely/fell apart completely",
        "grates from start to finish/grated from start to finish", "sinks without a trace/sank without a trace",
    ),
}

REACTIONS: dict[Opinion, Options] = {  # what a person did about a film; all fit "I" as well as "my aunt"
    Opinion(PRAISE, STRONG): (
        "loved {object}", "adored {object}", "was bowled over by {object}", "was enchanted by {object}",
        "would recommend {object} to anyone",
    ),
    Opinion(PRAISE, MILD): (
        "liked {object}", "enjoyed {object}", "was pleasantly surprised by {object}", "warmed to {object}",
        "had a good time with {object}",
    ),
    Opinion(BLAME, MILD): (
        "was bored by {object}", "was let down by {object}", "grew tired of {object}", "lost interest in {object}",
        "was left cold by {object}",
    ),
    Opinion(BLAME, STRONG): (
        "hated {object}", "loathed {object}", "detested {object}", "was appalled by {object}",
        "would warn anyone against {object}",
    ),
}

# --- what is judged, and by whom --------------------------------------------------------------------------------------

THIS_FILM: Options = ("this film", "the film", "this picture", "{title}")
OTHER_WORK: Options = (
    "the director's previous film", "the director's first film", "the film we saw the week before",
    "the novel behind it", "the stage version", "the old television version", "the sequel", "the silent version",
    "the remake", "the short film by the same director",
)
ASPECT: Options = (
    "the music", "the dialogue", "the opening scene", "the first half hour", "the leading performance",
    "the comic relief", "the romance", "the last act", "the final scene", "the subplot",
)
REPORTER: Options = (
    "my brother", "my sister", "my aunt", "my uncle", "my cousin", "my neighbour", "my flatmate", "my grandmother",
    "my old teacher", "my best friend", "my dentist", "my boss", "the local critic", "the radio critic",
)

# --- opinions ---------------------------------------------------------------------------------------------------------
# {who}, {whose}, {whom} are I, my, me or a reporter; {subject} is this film or another work. {flip} is a mild word of
# the opposite polarity, {contrary} any word of the opposite polarity.

PLAIN_CLAIMS: Options = ("{subject} {be} {adj}", "{subject} {be} {noun}", "{subject} {verb}")
NEGATED_CLAIMS: dict[int, Options] = {
    MILD: (
        "{subject} {be} anything but {flip}", "{subject} {be} by no means {flip}", "{subject} {be} far from {flip}",
        "there {be} nothing {flip} about {subject}",
    ),
    STRONG: ("there {be} not a single {flip} moment in {subject}", "not one moment in {subject} {be} {flip}"),
}

FRAMES: Options = (
    "{who} thought that {past_claim}", "{who} felt that {past_claim}", "{who} ended up convinced that {past_claim}",
    "{who} could only conclude that {past_claim}", "{who} told everyone that {past_claim}",
    "in {whose} opinion, {claim}", "in {whose} eyes, {claim}", "to {whose} mind, {claim}", "for {whom}, {claim}",
    "if you ask {whom}, {claim}", "the way {who} saw it, {claim}", "{whose} verdict is that {claim}",
)
BARE: Options = (  # nobody is named, so the writer speaks
    "{claim}", "all in all, {claim}", "to be honest, {claim}", "there is no other way to put it: {claim}",
    "make no mistake, {claim}",
)

PLAIN_STATEMENTS: Options = ("{who} found {subject} {adj}", "{who} {reaction}")
NEGATED_STATEMENTS: dict[int, Options] = {
    MILD: (
        "{who} would not call {subject} {flip}", "{who} did not find {subject} {flip}",
        "{who} saw nothing {flip} in {subject}", "{who} would be the last to call {subject} {flip}",
    ),
    STRONG: (
        "{who} did not find a single {flip} moment in {subject}",
        "{who} could not name a single {flip} moment in {subject}",
    ),
}

CONTRASTS: Options = (  # the writer's own; the main clause decides
    "although {aspect} {be} {contrary}, {claim}",
    "even though {aspect} {be} {contrary}, I {reaction}",
    "although {aspect} {be} {contrary}, {whole_claim}",
    "{aspect} may be {contrary}, but {claim}",
    "{aspect} may be {contrary}, but {whole_claim}",
    "I grant that {aspect} {be} {contrary}, but I {reaction}",
    "{claim}, even if {aspect} {be} {contrary}",
    "I found {subject} {adj}, although {aspect} {be} {contrary}",
    "unlike {other}, which {be} {contrary}, {claim}",
    "unlike {reporter}, who {counter_reaction}, I {reaction}",
    "{reporter} {counter_reaction}, but I found {subject} {adj}",
    "people say that {counter_claim}, but if you ask me, {claim}",
)

NEGATED_SHARE = 0.25  # of the statements
CONTRAST_SHARE = 0.2  # of the writer's own opinions
DISTRACTIONS = {"reported": 0.4, "elsewhere": 0.3, "expected": 0.2, "plot": 0.1}  # share of each role; plot stands last

REPORTS: Options = (  # others about this film, beside the frames above
    "according to {reporter}, {claim}", "I was told that {past_claim}", "I had read somewhere that {past_claim}",
    "people keep telling me that {claim}", 'the poster speaks of "a(n) {adj} film"', 'one newspaper called it "{noun}"',
    "{reporter} granted that {aspect} was {contrary}, but thought that {past_claim}",
    "unlike {reporter}, {who} {reaction}", "some say that {claim}, others that {counter_claim}",
)

EXPECTATIONS: Options = (
    "I had expected something {adj}", "I had expected {noun}", "I had prepared myself for a(n) {adj} evening",
    "the trailer had led me to expect {noun}", "before it began, I was sure that this film would be {adj}",
    "from the title I had imagined a(n) {adj} film", "I would have bet that this film would be {noun}",
    "judging by the cover, I was in for something {adj}", "after the first reports I was ready for {noun}",
)

JUDGED_IN_THE_STORY: Options = (
    "{hero} has written a(n) {adj} play and shows it to nobody", "in one scene {hero} sits through a(n) {adj} concert",
    "at one point {friend} gives a(n) {adj} speech", "{hero} tells everyone that the new opera in town is {adj}",
    "{friend} keeps a(n) {adj} novel in a locked drawer", "{hero} and {friend} quarrel about a(n) {adj} painting",
    "a(n) {adj} lecture about bees brings {hero} and {friend} together",
)

# --- sentences about the film that judge nothing ----------------------------------------------------------------------

STAGES: dict[str, Options] = {
    "viewing": (  # at most one of these in a review
        "I saw {title} at a small cinema in {city}", "we watched {title} at home on a rainy {weekday}",
        "{title} was shown on television last {weekday}", "my copy of {title} came as a birthday present",
        "I watched {title} on a long train journey to {city}", "our film club chose {title} for its {month} meeting",
        "{title} came out years ago, but I only got round to it this {month}",
        "the library in {city} lent me its copy of {title}", "a colleague lent me the disc",
    ),
    "premise": (  # exactly one, as soon as there is room
        "the story follows {hero}, a(n) {job}, who {event}", "it all begins when {hero}, a(n) {job}, {event}",
        "the film tells of a(n) {job} called {hero}, who {event}", "one day {hero}, a(n) {job} from {city}, {event}",
        "at the centre stands a(n) {job} by the name of {hero}, who {event}",
        "{hero}, a(n) {job} from {city}, {event}, and from then on nothing is as it was",
        "everything changes on the day when {hero}, a(n) {job}, {event}",
        "what happens when a(n) {job} like {hero} {event} is the subject of the film",
    ),
    "facts": (
        "{title} is a(n) {genre} set in {place}", "the film runs for {duration}",
        "{director} directed the film from a script by {writer}", "the money came from {country} and {second_country}",
        "it took six weeks to shoot the film, mostly in {country}", "the script went through five drafts",
        "{director} studied architecture in {city} before making films", "the title comes from an old song",
    ),
    "plot": (
        "{hero} tells nobody but {friend} for a while", "the police begin to ask questions",
        "a storm cuts everyone off for three days", "{friend} disappears without a word halfway through",
        "there is a long scene in a railway station at night", "an old photograph puts {hero} on the right track",
        "{hero} and {friend} set out for the coast in a borrowed van", "two strangers rent the room upstairs",
        "a second story, told in flashbacks, shows {hero} as a child",
        "{friend} falls in love with a stranger from {city}",
        "there is a trial, and {hero} has to appear as a witness", "a dog called {dog} follows {hero} everywhere",
        "everything turns on a promise that {hero} made at school", "{friend} wants to sell the family business",
        "{hero} and {friend} spend a whole winter repairing a boat", "what does the man in the grey coat want?",
        "a telephone rings in an empty house", "the neighbours begin to talk",
        "a wedding brings all the characters together under one roof", "someone has been opening the letters of {hero}",
        "can {hero} trust {friend}?", "in the second half the story moves to {city}",
    ),
    "ending": (  # at most one
        "I will not give away how it ends", "the last scene takes place ten years later",
        "in the final minutes {hero} boards a train", "the ending leaves one question open",
        "the film closes with the shot with which it opened", "only at the end does {friend} tell the truth",
    ),
    "cast": (
        "{lead} plays {hero}, and {support} appears as {friend}", "{lead} trained as a dancer before turning to acting",
        "most of the smaller parts are played by local people", "{lead} is on screen in nearly every scene",
        "{support} learned to ride a horse for the part", "the children were found at a school in {city}",
        "{lead} and {support} have appeared together before, on a television series",
        "the narrator is an actor known from the radio", "{support} has two scenes and a song",
        "the man who plays the judge wrote part of the music", "{lead} speaks with the accent of the region",
    ),
    "aside": (
        "I did not know any of the actors before", "I have never been to {city}, where parts of it were filmed",
        "I watched the version with subtitles", "I took no notes this time",
        "my aunt used to live in {city} and recognised the market square", "my brother and I watched it together",
        "my sister asked me afterwards who had done the costumes", "I counted four different hats on {hero}",
        "there is also a longer version, which I have not seen", "my neighbour comes from the town where it was shot",
        "it was the second film that I saw that week", "I had to look up what the title means",
    ),
    "production": (
        "the score is written for {instrument} and small orchestra", "many of the scenes were filmed at night",
        "the camera hardly ever moves", "the costumes came from a theatre in {city}",
        "about a third of the lines are spoken in {language}, with subtitles", "four songs are sung by the cast",
        "the colours change from grey to yellow as the story goes on", "each chapter begins with a date on the screen",
        "two editors from {city} cut the film in a single summer", "the credits are written by hand",
        "several shots were taken from the roof of a hospital", "the interiors were built in a former factory",
        "the first print was lost in a fire and had to be replaced", "the middle part is in black and white",
        "letters and diaries are read aloud by the narrator", "the film is divided into five chapters",
        "an interview with {director} follows after the credits", "the sound of a clock runs under many of the scenes",
    ),
}
REMARK_SHARE = 0.15  # of these sentences but the premise; in front or behind, so that no word always ends a sentence
STORY_REMARKS: Options = ("of course", "as it turns out", "for some reason", "as one might guess")
OTHER_REMARKS: Options = ("by the way", "as it happens", "for what it is worth", "incidentally")
LISTED_STAGES = ("facts", "plot", "cast", "production", "aside")  # from these a review takes as many as it needs
STAGE_ORDERS = (
    ("viewing", "aside", "facts", "premise", "plot", "ending", "cast", "production"),
    ("viewing", "facts", "cast", "premise", "plot", "ending", "aside", "production"),
    ("premise", "plot", "ending", "viewing", "facts", "cast", "aside", "production"),
    ("facts", "production", "cast", "viewing", "aside", "premise", "plot", "ending"),
)

WORDS: dict[str, Options] = {
    "title_adjective": (
        "Glass", "Paper", "Silent", "Crooked", "Copper", "Borrowed", "Hollow", "Northern", "Blue", "Second", "Last",
        "Winter", "Painted", "Broken",
    ),
    "title_noun": (
        "Harbour", "Lantern", "Orchard", "Bridge", "Letter", "Station", "Garden", "River", "Clock", "Key", "Staircase",
        "Island", "Mirror",
    ),
    "genre": (
        "comedy", "western", "thriller", "musical", "war drama", "ghost story", "love story", "road movie",
        "family drama", "crime story", "adventure film", "animated film",
    ),
    "place": (
        "a fishing village in Norway", "a mining town in Wales", "Lisbon between the wars",
        "a boarding school in the Alps", "a border town in Texas", "the suburbs of Osaka", "an old hotel in Scotland",
        "Vienna after the war", "a travelling circus", "a research station in Greenland", "the back streets of Naples",
        "a farming valley in Chile",
    ),
    "job": (
        "retired teacher", "young violin teacher", "ship's cook", "watchmaker", "night nurse", "photographer",
        "piano tuner", "bankrupt baker", "train driver", "botanist", "locksmith", "archivist", "insurance clerk",
    ),
    "event": (
        "finds a locked suitcase on the night train", "inherits a house from a stranger",
        "receives a letter that was posted forty years ago", "comes home after ten years at sea",
        "is mistaken for a famous thief", "agrees to hide a runaway for one night", "takes a job under a false name",
        "witnesses a robbery and says nothing", "starts to look for a lost brother",
        "wakes up with no memory of the past week", "buys a map at a flea market", "is asked to guard a painting",
    ),
    "relation": ("cousin", "landlord", "old rival", "business partner", "employer", "lodger", "doctor", "best friend"),
    "city": ("Boston", "Leeds", "Prague", "Turin", "Dublin", "Toronto", "Lyon", "Bergen", "Seville", "Cracow"),
    "country": ("Italy", "Canada", "Iceland", "Poland", "Mexico", "Portugal"),
    "second_country": ("France", "Japan", "Austria", "Ireland", "Brazil", "Denmark"),
    "weekday": ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"),
    "month": ("January", "February", "March", "April", "September", "October", "November", "December"),
    "duration": (
        "just under two hours", "about ninety minutes", "a little over two hours", "almost three hours",
        "barely eighty minutes",
    ),
    "instrument": ("piano", "cello", "clarinet", "accordion", "harp", "trumpet", "guitar"),
    "language": ("Welsh", "Spanish", "Finnish", "Japanese", "Polish", "Arabic"),
    "dog": ("Biscuit", "Captain", "Pepper", "Walnut", "Sailor"),
    "family_name": (
        "Hartwell", "Lindqvist", "Moreau", "Okafor", "Brandt", "Castellan", "Whitlow", "Ferrante", "Novak", "Ashby",
        "Tanaka", "Delgado", "Marsh", "Pettersen",
    ),
    "woman": ("Helen", "Clara", "Ingrid", "Lucia", "Amara", "Judith", "Sonja", "Beatrice"),
    "man": ("Martin", "Edgar", "Tobias", "Marco", "Samuel", "Henrik", "Victor", "Anthony"),
    "heroine": ("Marta", "Nora", "Ruth", "Elena", "Agnes", "Olive"),
    "hero_name": ("Jonas", "Walter", "Pablo", "Emil", "Frank", "Oscar"),
}

# fmt: on

# --- drawing and filling ----------------------------------------------------------------------------------------------


class Writer:
    """The draws of one review. Nothing is picked twice while something unpicked is left in its table."""

    def __init__(self, key: str) -> None:
        """Start from a text key; equal keys write equal reviews."""
        self._random = Random(key)
        self._picked: set[str] = set()
        self.film: dict[str, str] = {}

    def draw(self) -> float:
        """Return a number in [0, 1)."""
        return self._random.random()

    def chance(self, probability: float) -> bool:
        """Return True with the given probability."""
        return self.draw() < probability

    def whole(self, lowest: int, highest: int) -> int:
        """Return a whole number from lowest to highest, both included."""
        return lowest + int(self.draw() * (highest - lowest + 1))

    def sample(self, items: Sequence[int], count: int) -> list[int]:
        """Return `count` of the items, each set of them equally likely, in random order."""
        keyed = sorted((self.draw(), item) for item in items)
        return [item for _, item in keyed[:count]]

    def pick(self, options: Sequence[str]) -> str:
        """Return one of the options, if possible one that this review has not used yet."""
        fresh = [option for option in options if option not in self._picked] or options
        choice = fresh[int(self.draw() * len(fresh))]
        self._picked.add(choice)
        return choice

    def fill(self, template: str, slots: Mapping[str, Options]) -> str:
        """Replace each `{slot}` by the film's own value, or else by a pick from `slots` or `WORDS`, filled in turn."""

        def value(match: re.Match[str]) -> str:
            name = match[1]
            if name in self.film:
                return self.film[name]
            return self.fill(self.pick(slots[name] if name in slots else WORDS[name]), slots)

        return re.sub(r"\{(\w+)\}", value, template)


def finish(words: str, mark: str = ".") -> str:
    """Turn filled words into a sentence: choose a or an, begin with a capital, end with a mark."""
    words = re.sub(r"\ba\(n\) (?=([aeiou])?)", lambda match: "an " if match[1] else "a ", words)
    return words[0].upper() + words[1:] + ("" if words.endswith("?") else mark)


def invent_film(writer: Writer) -> dict[str, str]:
    """Draw what stays the same through a review: title, people, place."""
    woman = writer.chance(0.5)
    film = {"title": writer.fill("The {title_adjective} {title_noun}", {})}
    film["hero"] = writer.fill("{heroine}" if woman else "{hero_name}", {})
    film["his"] = "her" if woman else "his"
    film["friend"] = film["his"] + writer.fill(" {relation}", {})
    film["lead"] = writer.fill("{woman} {family_name}" if woman else "{man} {family_name}", {})
    for person in ("support", "director", "writer"):
        film[person] = writer.fill("{woman} {family_name}" if writer.chance(0.5) else "{man} {family_name}", {})
    return film


# --- opinions, written out --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sentence:
    """One sentence of a review.

    The role is "own" if the sentence decides, and otherwise one of those listed at the head of this module. The
    polarity is that of the judgement passed in it (where there are two, of the main one), or 0 where there is none.
    """

    text: str
    role: str
    polarity: int = 0


def persons(who: str) -> dict[str, Options]:
    """The forms of a person, "I" or a reporter, that the frames ask for."""
    if who == "I":
        return {"who": ("I",), "whose": ("my",), "whom": ("me",)}
    return {"who": (who,), "whose": (who + "'s",), "whom": (who,)}


def reactions(opinion: Opinion, object_: str) -> Options:
    """The reactions of an opinion, with the thing reacted to put in."""
    return tuple(reaction.replace("{object}", object_) for reaction in REACTIONS[opinion])


def opinion_slots(opinion: Opinion, subject: str, past: bool) -> dict[str, Options]:
    """Everything an opinion template may ask for, but the person who holds it."""
    opposite = Opinion(-opinion.polarity, opinion.strength)
    return {
        "subject": (subject,),
        "be": ("was" if past else "is",),
        "adj": ADJECTIVES[opinion],
        "noun": NOUNS[opinion],
        "verb": tuple(verb.split("/")[past] for verb in VERBS[opinion]),
        "reaction": reactions(opinion, subject),
        "flip": ADJECTIVES[Opinion(-opinion.polarity, MILD)],
        "contrary": ADJECTIVES[Opinion(-opinion.polarity, MILD)] + ADJECTIVES[Opinion(-opinion.polarity, STRONG)],
        "counter_reaction": reactions(opposite, "it"),
        "counter_claim": tuple(f"it is {noun}" for noun in NOUNS[opposite]),
        "claim": PLAIN_CLAIMS,
        "past_claim": PLAIN_CLAIMS,
        "whole_claim": tuple(claim.replace("{subject}", "the film as a whole") for claim in PLAIN_CLAIMS),
        "aspect": ASPECT,
        "other": OTHER_WORK,
        "reporter": REPORTER,
    }


def opine(writer: Writer, templates: Options, opinion: Opinion, who: str, subject: str, negated: bool = False) -> str:
    """Write one opinion: `who` about `subject`, in one of the templates; negated if its claims shall be."""
    template = writer.pick(templates)
    past = "{past_claim}" in template or writer.chance(0.5)
    slots = opinion_slots(opinion, writer.fill(subject, {}), past) | persons(who)
    if negated:
        slots["claim"] = slots["past_claim"] = NEGATED_CLAIMS[opinion.strength]
    mark = "!" if opinion.strength == STRONG and writer.chance(0.15) else "."
    return finish(writer.fill(template, slots), mark)


def statement(writer: Writer, opinion: Opinion, who: str, subject: str) -> str:
    """Write a plain or a negated opinion in the frames that own and foreign opinions share."""
    negated = writer.chance(NEGATED_SHARE)
    direct = NEGATED_STATEMENTS[opinion.strength] if negated else PLAIN_STATEMENTS
    framed = FRAMES + BARE if who == "I" else FRAMES
    return opine(writer, direct if writer.chance(0.4) else framed, opinion, who, subject, negated)


def own_opinion(writer: Writer, opinion: Opinion) -> Sentence:
    """Write a sentence that decides: the writer about this film."""
    subject = writer.pick(THIS_FILM)
    if writer.chance(CONTRAST_SHARE):
        text = opine(writer, CONTRASTS, opinion, "I", subject)
    else:
        text = statement(writer, opinion, "I", subject)
    return Sentence(text, "own", opinion.polarity)


def draw_role(writer: Writer, has_story: bool) -> str:
    """Draw the role of a distraction, with the shares of the table; without a story nothing can be judged in it."""
    remaining = writer.draw() if has_story else writer.draw() * (1 - DISTRACTIONS["plot"])
    for role, share in DISTRACTIONS.items():
        remaining -= share
        if remaining < 0:
            return role
    return "plot"


def distraction(writer: Writer, opinion: Opinion, has_story: bool) -> Sentence:
    """Write a sentence that utters an opinion and decides nothing."""
    role = draw_role(writer, has_story)
    this = writer.pick(THIS_FILM)
    if role == "elsewhere":
        who = "I" if writer.chance(0.8) else writer.pick(REPORTER)
        text = statement(writer, opinion, who, writer.pick(OTHER_WORK))
    elif role == "expected":
        text = opine(writer, EXPECTATIONS, opinion, "I", this)
    elif role == "plot":
        text = opine(writer, JUDGED_IN_THE_STORY, opinion, "I", this)
    elif writer.chance(0.4):
        text = opine(writer, REPORTS, opinion, writer.pick(REPORTER), this)
    else:
        text = statement(writer, opinion, writer.pick(REPORTER), this)
    return Sentence(text, role, opinion.polarity)


def any_opinion(writer: Writer) -> Opinion:
    """Draw an opinion by two coins that know nothing of the label."""
    return Opinion(PRAISE if writer.chance(0.5) else BLAME, STRONG if writer.chance(0.5) else MILD)


# --- whole reviews ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Draft:
    """A review as a list of sentences, before they are joined; `own` is the judgement that decides its stars."""

    own: Opinion
    rating: int
    sentences: tuple[Sentence, ...]
    paragraph_ends: frozenset[int]  # numbers of the sentences that a paragraph break follows


@dataclass(frozen=True)
class SampleReview:
    """A finished review. `evidence` holds the character spans [start, end) in `text` of the sentences that decide."""

    id: str
    split: str  # train, test or unlabelled
    rating: int  # 1-4 negative, 7-10 positive, 0 unlabelled
    text: str
    evidence: tuple[tuple[int, int], ...]


def is_praised(seed: int, split: str, number: int) -> bool:
    """Of reviews 2j and 2j + 1 one praises and one blames, so the classes balance at any even size."""
    first_praises = Random(f"sample/{seed}/{split}/pair/{number // 2}").random() < 0.5
    return first_praises == (number % 2 == 0)


def choose_sizes(writer: Writer) -> tuple[int, int, int]:
    """Draw how many sentences decide, distract and stay neutral."""
    second_of_five = sorted(writer.draw() for _ in range(5))[1]  # beta(2, 4): mean 1/3, a long tail to the right
    total = FEWEST_SENTENCES + int(second_of_five * (MOST_SENTENCES - FEWEST_SENTENCES + 1))
    own = 1 if total < 8 else writer.whole(1, 2) if total < 14 else writer.whole(2, 3)
    distracting = min(total - own, max(1, round(total * (0.15 + 0.15 * writer.draw()))))
    return own, distracting, total - own - distracting


def neutral_sentence(writer: Writer, stage: str, template: str) -> Sentence:
    """Write a sentence that judges nothing, now and then with a remark in front or behind."""
    words = writer.fill(template, {})
    if stage != "premise" and writer.chance(REMARK_SHARE) and not words.endswith("?"):
        remark = writer.pick(STORY_REMARKS if stage == "plot" else OTHER_REMARKS)
        words = f"{remark}, {words}" if writer.chance(0.4) else f"{words}, {remark}"
    return Sentence(finish(words), "neutral")


def tell(writer: Writer, count: int, judged: list[Sentence]) -> list[Sentence]:
    """Write `count` sentences that judge nothing and order them, and those `judged` in the story, as one tells it."""
    templates = [("premise", writer.pick(STAGES["premise"]))]
    templates += [(stage, writer.pick(STAGES[stage])) for stage in ("viewing", "ending") if writer.chance(0.5)]
    listed = [(stage, template) for stage in LISTED_STAGES for template in STAGES[stage]]
    templates += [listed[index] for index in writer.sample(range(len(listed)), count)]
    told = [(stage, neutral_sentence(writer, stage, template)) for stage, template in templates[:count]]
    told += [("plot", sentence) for sentence in judged]
    order = STAGE_ORDERS[writer.whole(0, len(STAGE_ORDERS) - 1)]
    return [sentence for _, sentence in sorted(told, key=lambda staged: order.index(staged[0]))]


def scatter(writer: Writer, told: list[Sentence], opinions: list[Sentence]) -> list[Sentence]:
    """Put the opinions at random places among the sentences told, which keep their order."""
    places = writer.sample(range(len(told) + len(opinions)), len(opinions))
    sentences = list(told)
    for place, opinion in sorted(zip(places, opinions, strict=True), key=lambda placed: placed[0]):
        sentences.insert(place, opinion)
    return sentences


def draw_paragraphs(writer: Writer, sentences: int) -> frozenset[int]:
    """Draw the sentences that a paragraph break follows: none in most reviews, never next to either end."""
    if sentences < 6 or not writer.chance(0.2):
        return frozenset()
    return frozenset(writer.sample(range(1, sentences - 2), writer.whole(1, 1 + sentences // 12)))


def draft_review(seed: int, split: str, number: int) -> Draft:
    """Write review `number` of a split as a list of sentences with their roles."""
    writer = Writer(f"sample/{seed}/{split}/{number}")
    writer.film = invent_film(writer)
    own = Opinion(PRAISE if is_praised(seed, split, number) else BLAME, STRONG if writer.chance(0.5) else MILD)
    deciding, distracting, neutral = choose_sizes(writer)
    opinions = [own_opinion(writer, own) for _ in range(deciding)]
    opinions += [distraction(writer, any_opinion(writer), neutral > 0) for _ in range(distracting)]
    told = tell(writer, neutral, [sentence for sentence in opinions if sentence.role == "plot"])
    sentences = scatter(writer, told, [sentence for sentence in opinions if sentence.role != "plot"])
    rating = STARS[own][writer.whole(0, len(STARS[own]) - 1)]
    return Draft(own, rating, tuple(sentences), draw_paragraphs(writer, len(sentences)))


def write_review(seed: int, split: str, number: int) -> SampleReview:
    """Join a draft to running text and note where the deciding sentences came to stand."""
    draft = draft_review(seed, split, number)
    text, evidence = "", []
    for index, sentence in enumerate(draft.sentences):
        start = len(text)
        text += sentence.text
        if sentence.role == "own":
            evidence.append((start, len(text)))
        if index < len(draft.sentences) - 1:
            text += "<br /><br />" if index in draft.paragraph_ends else " "
    rating = 0 if split == "unlabelled" else draft.rating
    return SampleReview(f"{split}/{number:05d}", split, rating, text, tuple(evidence))


def generate(
    seed: int, train: int = TRAIN_REVIEWS, test: int = TEST_REVIEWS, unlabelled: int = UNLABELLED_REVIEWS
) -> Iterator[SampleReview]:
    """Write the data set: the train reviews, then the test reviews, then the unlabelled ones.

    Args:
        seed: chooses the data set; the same seed writes the same reviews on every machine.
        train, test, unlabelled: number of reviews; more reviews leave the earlier ones as they were.
    """
    for split, count in (("train", train), ("test", test), ("unlabelled", unlabelled)):
        for number in range(count):
            yield write_review(seed, split, number)
