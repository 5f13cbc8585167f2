"""Space-time yield and E-factor of a flow reaction at its steady state.

E-factor: R. A. Sheldon, Green Chem. 2007, 9, 1273: mass of waste per mass of product, where
waste is all that went in and is not the product. Solvent counts unless it is recovered:
none recovered is the "complete", all recovered the "simple" E-factor of F. Roschangar,
R. A. Sheldon, C. H. Senanayake, Green Chem. 2015, 17, 752.
"""

SUBSTRATE = 159.09  # g/mol, 2,4-difluoronitrobenzene
AMINE = 71.12  # g/mol, pyrrolidine
PRODUCT = 210.21  # g/mol, the ortho product, C10H11FN2O2

ETHANOL = 0.789  # kg/L
SUBSTRATE_DENSITY, AMINE_DENSITY = 1.451, 0.866  # kg/L of the pure liquids


def space_time_yield(product: float, residence_time: float) -> float:
    """Return kg of product per m3 of reactor and hour.

    :param product: M at the outlet; :param residence_time: minutes.
    """
    return product * PRODUCT * 60.0 / residence_time


def e_factor(
    product: float, substrate: float, amine: float, *, solvent_recovery: float = 0.0
) -> float:
    """Return kg of waste per kg of product.

    :param product: M at the outlet, more than 0; `substrate` and `amine`: M that went in.
        The ethanol is what is left of a litre when the reactants' volumes are taken off.
    :param solvent_recovery: part of the ethanol that is used again and so no waste, 0..1.
    """
    reactants = (substrate * SUBSTRATE + amine * AMINE) / 1000.0  # kg/L
    taken = (
        substrate * SUBSTRATE / SUBSTRATE_DENSITY + amine * AMINE / AMINE_DENSITY
    ) / 1000.0  # L/L
    put_in = reactants + ETHANOL * (1.0 - taken) * (1.0 - solvent_recovery)
    made = product * PRODUCT / 1000.0
    return (put_in - made) / made
