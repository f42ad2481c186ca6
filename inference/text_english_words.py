"""The words that the English rules look up."""

# Marks and letters that look alike are what this module is about.
# ruff: noqa: RUF001

from __future__ import annotations

MONTHS = dict.fromkeys(
    ["January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December"]
)

# Abbreviations without their last point, by what tells them from words ("Ed. said", "a fig. Then").
# A name follows:
TITLES = {
    "prof": "professor", "rev": "reverend", "hon": "honorable", "gen": "general", "col": "colonel", "capt": "captain", "lt": "lieutenant",
    "sgt": "sergeant", "maj": "major", "cmdr": "commander", "gov": "governor", "sen": "senator", "pres": "president", "mt": "mount",
    "ft": "fort", "messrs": "messieurs",
}  # fmt: skip
# A number follows:
BEFORE_NUMBER = {
    "fig": "figure", "figs": "figures", "vol": "volume", "vols": "volumes", "chap": "chapter", "ch": "chapter", "pp": "pages", "p": "page",
    "sec": "section", "apt": "apartment", "est": "established", "ca": "circa", "c": "circa", "min": "minimum", "max": "maximum",
    "eq": "equation", "eqs": "equations", "no": "number", "nos": "numbers", "tel": "telephone", "hwy": "highway",
}  # fmt: skip
# A number stands before:
AFTER_NUMBER = {
    "ft": "feet", "hr": "hours", "hrs": "hours", "min": "minutes", "mins": "minutes", "sec": "seconds", "secs": "seconds",
    "lb": "pounds", "lbs": "pounds", "oz": "ounces", "in": "inches", "yd": "yards", "yds": "yards", "mi": "miles", "km": "kilometers",
}  # fmt: skip
# Nothing else that they could be:
ABBREVIATIONS = {
    "mr": "mister", "mrs": "missus", "ms": "miss", "jr": "junior", "sr": "senior", "esq": "esquire", "ave": "avenue", "blvd": "boulevard",
    "dept": "department", "univ": "university", "inc": "incorporated", "corp": "corporation", "co": "company", "ltd": "limited",
    "bros": "brothers", "assn": "association", "etc": "et cetera", "e.g": "for example", "eg": "for example", "i.e": "that is",
    "vs": "versus", "approx": "approximately", "incl": "including", "excl": "excluding", "cf": "compare", "misc": "miscellaneous",
    "viz": "namely", "supt": "superintendent", "et al": "et al",
}  # fmt: skip

# These may end a sentence; the others stand before what they belong to.
_ENDING = "jr sr esq ave blvd dept univ inc corp co ltd bros assn etc misc ft hr hrs min mins sec secs lb lbs oz in yd yds mi km"
ENDING_ABBREVIATIONS = frozenset([*_ENDING.split(), "et al"])

# Words that begin sentences far more often than they follow an abbreviation as part of a name.
_STARTERS = """
    A After All Also Although An And Another Are As At Because Before But By Can Did Do Does Each Every For From Had Has Have He Her Here
    His How However I If In Is It Its Last Let Many May More Most My Next No Not Now On Once One Or Our Perhaps Please She Since So Some
    Still Such That The Their Then There These They This Those Though Thus To Today Two Under Until Was We Were What When Where Which While
    Who Why Will With Yes Yet You Your
"""
SENTENCE_STARTERS = frozenset(_STARTERS.split())

# One, many, one hundredth, many hundredths.
CURRENCIES = {
    "$": ("dollar", "dollars", "cent", "cents"),
    "US$": ("US dollar", "US dollars", "cent", "cents"),
    "CA$": ("Canadian dollar", "Canadian dollars", "cent", "cents"),
    "A$": ("Australian dollar", "Australian dollars", "cent", "cents"),
    "£": ("pound", "pounds", "penny", "pence"),
    "€": ("euro", "euros", "cent", "cents"),
    "¥": ("yen", "yen", "", ""),
    "₹": ("rupee", "rupees", "paisa", "paise"),
    "₩": ("won", "won", "", ""),
    "₽": ("ruble", "rubles", "kopeck", "kopecks"),
    "₱": ("peso", "pesos", "centavo", "centavos"),
}
CURRENCY_CODES = {
    "USD": CURRENCIES["US$"],
    "CAD": CURRENCIES["CA$"],
    "AUD": CURRENCIES["A$"],
    "GBP": CURRENCIES["£"],
    "EUR": CURRENCIES["€"],
    "JPY": CURRENCIES["¥"],
    "INR": CURRENCIES["₹"],
    "CHF": ("Swiss franc", "Swiss francs", "centime", "centimes"),
    "CNY": ("yuan", "yuan", "", ""),
}
MAGNITUDES = {
    "k": "thousand", "thousand": "thousand", "m": "million", "mn": "million", "million": "million", "b": "billion", "bn": "billion",
    "billion": "billion", "tn": "trillion", "trillion": "trillion",
}  # fmt: skip

# After a number only. "in", "A" and "C" are left out: they are words as often as units.
UNITS = {
    "km": ("kilometer", "kilometers"), "m": ("meter", "meters"), "cm": ("centimeter", "centimeters"), "mm": ("millimeter", "millimeters"),
    "mi": ("mile", "miles"), "ft": ("foot", "feet"), "yd": ("yard", "yards"), "kg": ("kilogram", "kilograms"), "g": ("gram", "grams"),
    "mg": ("milligram", "milligrams"), "lb": ("pound", "pounds"), "lbs": ("pound", "pounds"), "oz": ("ounce", "ounces"),
    "L": ("liter", "liters"), "l": ("liter", "liters"), "ml": ("milliliter", "milliliters"), "mL": ("milliliter", "milliliters"),
    "km/h": ("kilometer per hour", "kilometers per hour"), "kph": ("kilometer per hour", "kilometers per hour"),
    "mph": ("mile per hour", "miles per hour"), "m/s": ("meter per second", "meters per second"),
    "h": ("hour", "hours"), "hr": ("hour", "hours"), "hrs": ("hour", "hours"), "min": ("minute", "minutes"), "mins": ("minute", "minutes"),
    "s": ("second", "seconds"), "sec": ("second", "seconds"), "secs": ("second", "seconds"), "ms": ("millisecond", "milliseconds"),
    "kB": ("kilobyte", "kilobytes"), "KB": ("kilobyte", "kilobytes"), "MB": ("megabyte", "megabytes"), "GB": ("gigabyte", "gigabytes"),
    "TB": ("terabyte", "terabytes"), "Hz": ("hertz", "hertz"), "kHz": ("kilohertz", "kilohertz"), "MHz": ("megahertz", "megahertz"),
    "GHz": ("gigahertz", "gigahertz"), "W": ("watt", "watts"), "kW": ("kilowatt", "kilowatts"), "kWh": ("kilowatt hour", "kilowatt hours"),
    "V": ("volt", "volts"), "dB": ("decibel", "decibels"), "°C": ("degree Celsius", "degrees Celsius"),
    "°F": ("degree Fahrenheit", "degrees Fahrenheit"), "°": ("degree", "degrees"),
    "m^2": ("square meter", "square meters"), "km^2": ("square kilometer", "square kilometers"), "m^3": ("cubic meter", "cubic meters"),
    "cm^2": ("square centimeter", "square centimeters"), "ft^2": ("square foot", "square feet"),
}  # fmt: skip

SYMBOLS = {
    "°C": "degrees Celsius", "°F": "degrees Fahrenheit", "&": "and", "+": "plus", "=": "equals", "@": "at", "%": "percent", "°": "degrees",
    "#": "hash", "×": "times", "÷": "divided by", "±": "plus or minus", "≈": "approximately", "≠": "is not equal to",
    "≤": "is at most", "≥": "is at least", "§": "section", "©": "copyright",
    "€": "euro", "£": "pound", "¥": "yen", "₹": "rupee", "→": "to", "√": "square root of", "∞": "infinity", "⁄": "over",
}  # fmt: skip
