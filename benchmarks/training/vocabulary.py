"""Who speaks in the synthesised speech, and with which words."""

from __future__ import annotations


def _listed(text: str) -> list[str]:
    return text.split()


ACCENTS = _listed("en-us en-gb en-gb-scotland en-gb-x-gbclan en-gb-x-gbcwmd en-gb-x-rp en-us-nyc en-029")
LANGUAGES = _listed(
    """
    af ca cs cy da de es es-419 et eu fi fr-fr ga hr hu id is it la lt lv ms nb nl pl pt pt-br ro sk sl sq sv sw
    tr
    """
)
VARIANTS = _listed(
    """
    m1 m2 m3 m4 m5 m6 m7 m8 f1 f2 f3 f4 f5 Alex Andy Annie Diogo Gene Hugo Jacky Lee Marco Mario Michael Mike
    Storm adam anika announcer antonio aunty belinda benjamin boris caleb david ed edward grandma grandpa gustave
    iven john kaukovalta klatt klatt2 klatt3 linda marcelo max michel norbert pablo paul pedro quincy rob robert
    sandro shelby steph travis victor zac
    """
)
WORDS = _listed(
    """
    the of and to in is you that it he was for on are as with his they at be this have from or had by word but
    what some we can out other were all there when up use your how said an each she which do their time if will
    way about many then them write would like so these her long make thing see him look more day could go come did
    number sound no most people my over know water than call first who may down side been now find any new work
    part take get place made live where after back little only round man year came show every good me give our
    under name very through just form sentence great think say help low line differ turn cause much mean before
    move right boy old too same tell does set want air well also play small end put home read hand port large
    spell add even land here must big high such follow act why ask men change went light kind off need house
    picture try us again animal point mother world near build self earth father head stand own page should country
    found answer school grow study still learn plant cover food sun thought let keep eye never last door between
    city tree cross since hard start might story saw far sea draw left late run while press close night real life
    few stop open seem together next white children begin
    """
)
ONSETS = _listed("b d f g h j k l m n p r s t v w z ch sh th br dr gr kl pl st tr sp")
VOWELS = _listed("a e i o u ee oo ai ou")
