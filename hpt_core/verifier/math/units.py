"""Units of measurement and money: how they are written, and which are convertible into each other."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction


@dataclass(frozen=True, slots=True)
class Unit:
    """A product of powers of base units times a factor: 1 km/h is (5/18) m s^-1."""

    factor: Fraction
    dimensions: tuple[tuple[str, Fraction], ...]
    """The base units with their exponents, sorted; none for a unit without dimension, as percent."""

    def __mul__(self, other: Unit) -> Unit:
        powers = dict(self.dimensions)
        for base, power in other.dimensions:
            powers[base] = powers.get(base, Fraction(0)) + power
        return Unit(self.factor * other.factor, tuple(sorted((b, p) for b, p in powers.items() if p)))

    def __pow__(self, exponent: int) -> Unit:
        return Unit(self.factor**exponent, tuple((base, power * exponent) for base, power in self.dimensions))


def _table() -> dict[str, Unit]:
    units: dict[str, Unit] = {}
    for line in _DEFINITIONS.strip().splitlines():
        names, factor, *dimensions = line.split()
        value = Fraction(factor)
        powers = [entry.partition("^") for entry in dimensions]
        unit = Unit(value, tuple(sorted((base, Fraction(power or 1)) for base, _, power in powers)))
        for name in names.split(","):
            units[name] = unit
    return units


# The SI definitions; inch, pound and gallon are the international (US) ones. The names of one unit,
# its factor, and its base units. A lone upper-case name is money; such units are not convertible.
_DEFINITIONS = """
m,meter,meters,metre,metres 1 m
cm,centimeter,centimeters,centimetre,centimetres 1/100 m
mm,millimeter,millimeters,millimetre,millimetres 1/1000 m
dm,decimeter,decimeters,decimetre,decimetres 1/10 m
km,kilometer,kilometers,kilometre,kilometres 1000 m
nm,nanometer,nanometers 1/1000000000 m
\u03bcm,micrometer,micrometers,micron,microns 1/1000000 m
in,inch,inches 127/5000 m
ft,foot,feet 381/1250 m
yd,yds,yard,yards 1143/1250 m
mi,mile,miles 201168/125 m
ly,lightyear,lightyears 9460730472580800 m
s,sec,secs,second,seconds 1 s
ms,millisecond,milliseconds 1/1000 s
ns,nanosecond,nanoseconds 1/1000000000 s
min,mins,minute,minutes 60 s
h,hr,hrs,hour,hours 3600 s
d,day,days 86400 s
wk,week,weeks 604800 s
month,months,mo 1 month
yr,yrs,year,years 12 month
decade,decades 120 month
century,centuries 1200 month
kg,kilogram,kilograms,kilo,kilos 1 kg
g,gram,grams 1/1000 kg
mg,milligram,milligrams 1/1000000 kg
t,tonne,tonnes 1000 kg
lb,lbs,pound,pounds 45359237/100000000 kg
oz,ounce,ounces 45359237/1600000000 kg
ton,tons 1 ton
L,l,liter,liters,litre,litres 1/1000 m^3
ml,mL,milliliter,milliliters,millilitre,millilitres 1/1000000 m^3
cl,cL,centiliter,centiliters 1/100000 m^3
dl,dL,deciliter,deciliters 1/10000 m^3
cc 1/1000000 m^3
gal,gallon,gallons 473176473/125000000000 m^3
qt,quart,quarts 473176473/500000000000 m^3
pt,pint,pints 473176473/1000000000000 m^3
cup,cups 473176473/2000000000000 m^3
ha,hectare,hectares 10000 m^2
acre,acres 316160658/78125 m^2
mph 1397/3125 m s^-1
kph,kmph,kmh 5/18 m s^-1
knot,knots 463/900 m s^-1
N,newton,newtons 1 kg m s^-2
J,joule,joules 1 kg m^2 s^-2
kJ,kilojoule,kilojoules 1000 kg m^2 s^-2
eV 1 eV
keV 1000 eV
MeV 1000000 eV
GeV 1000000000 eV
cal,calorie,calories 1 cal
kcal,kilocalorie,kilocalories 1000 cal
erg,ergs 1/10000000 kg m^2 s^-2
W,watt,watts 1 kg m^2 s^-3
kW,kilowatt,kilowatts 1000 kg m^2 s^-3
kWh 3600000 kg m^2 s^-2
Pa,pascal,pascals 1 kg m^-1 s^-2
kPa 1000 kg m^-1 s^-2
atm 101325 kg m^-1 s^-2
bar,bars 100000 kg m^-1 s^-2
Hz,hertz 1 s^-1
kHz 1000 s^-1
MHz 1000000 s^-1
GHz 1000000000 s^-1
rpm 1/60 rev s^-1
V,volt,volts 1 V
mV 1/1000 V
A,amp,amps,ampere,amperes 1 A
mA 1/1000 A
ohm,ohms,\\Omega 1 ohm
F,farad,farads 1 F
C,coulomb,coulombs 1 C
T,tesla 1 T
K,kelvin,kelvins 1 K
celsius 1 celsius
fahrenheit 1 fahrenheit
mol,mole,moles 1 mol
\\AA,angstrom,angstroms 1/10000000000 m
rad,rads,radian,radians 1 rad
sr,steradian,steradians 1 sr
deg,degs,degree,degrees 1 degree
rev,revs,revolution,revolutions 1 rev
bit,bits 1 bit
byte,bytes,B 8 bit
KB,kB,kilobyte,kilobytes 8000 bit
MB,megabyte,megabytes 8000000 bit
GB,gigabyte,gigabytes 8000000000 bit
\\$,USD,dollar,dollars,buck,bucks,US\\$ 1 dollar
cent,cents,\u00a2 1/100 dollar
\u20ac,EUR,euro,euros 1 euro
\u00a3,GBP,\\pounds 1 sterling
p,pence 1/100 sterling
\u00a5,yuan,RMB,CNY,JPY,yen,\u5143 1 yuan
\u20b9,INR,rupee,rupees,Rs 1 rupee
\\%,percent,percents,pct 1/100
\u5206\u949f 60 s
\u5c0f\u65f6 3600 s
\u79d2 1 s
\u5929 86400 s
\u5398\u7c73 1/100 m
\u5343\u7c73 1000 m
\u7c73 1 m
\u5343\u514b 1 kg
\u514b 1/1000 kg
\u5ea6 1 degree
unit,units 1 unit
"""

UNITS = _table()
CURRENCY_SIGNS = frozenset({r"\$", "\u20ac", "\u00a3", "\u00a5", "\u20b9", r"\pounds"})
PERCENT = UNITS[r"\%"]
DEGREE = UNITS["degree"]
RADIAN = UNITS["rad"]
_GENERIC = "unit"

MULTIPLIERS = {
    "hundred": 100,
    "thousand": 1000,
    "million": 10**6,
    "billion": 10**9,
    "trillion": 10**12,
    "dozen": 12,
    "score": 20,
    "hundreds": 100,
    "thousands": 1000,
    "millions": 10**6,
    "billions": 10**9,
    "dozens": 12,
    "\u4e07": 10**4,
    "\u4ebf": 10**8,
}


def label(words: str) -> Unit:
    """The unit that things are counted in: "12 apples". Singular and plural are the same."""
    return Unit(Fraction(1), ((f"label:{words.removesuffix('s')}", Fraction(1)),))


def is_generic(unit: Unit) -> bool:
    """Whether `unit` is the word "units" or "square units", which leaves the unit open."""
    return bool(unit.dimensions) and all(base == _GENERIC for base, _ in unit.dimensions)
