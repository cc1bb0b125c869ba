/** The text that `graft verify` predicts unless another is named: some 600 tokens of plain English, figures and code among it. */
export const verificationText = `A tide table is an old kind of forecast. Long before anyone could explain why the sea rises twice a day, harbour masters wrote down when it did, and noticed that the hours moved by some fifty minutes from one day to the next, as the moon does. With a few years of such notes a clerk could tell a captain when there would be water enough over the bar next month. The table was right more often than the theories that were offered for it.

The theory came later. Newton showed in 1687 that the moon pulls harder on the near side of the earth than on the far side, so that the sea is stretched into two bulges; the earth turns beneath them, and each place meets both in a day. The sun does the same, at a little less than half the strength. When both pull along one line, at new and full moon, the range is greatest; a week later they work across each other and it is least. In a deep and even ocean that would be the whole story.

But no ocean is deep and even. A wave that runs up a narrowing bay grows taller, and one whose period is near the time that water needs to slosh from end to end grows taller still. In the Bay of Fundy the difference between high and low water reaches 16 metres; in the Mediterranean it is often less than 0.3. Two harbours that lie an hour's walk apart on either side of a headland can have their high water three hours apart. No one could compute this from the pull of the moon alone, and so for every port somebody still had to measure.

What Lord Kelvin added in 1872 was a machine. He took the measured curve of one harbour apart into a sum of simple waves, each with a period that astronomy fixes and with a height and a delay that belong to the place, and he built wheels and pulleys that added such waves up again. A year's tides for one port took the machine about four hours, where a careful computer, which at the time meant a person, needed months. The same sum is a few lines today:

def height(t, mean, waves):
    """Metres above datum at t hours; waves are (amplitude, speed in degrees an hour, phase)."""
    return mean + sum(a * cos(radians(v * t - p)) for a, v, p in waves)

The largest term is called M2 and has a speed of 28.984104 degrees an hour, which is twice around in a lunar day. The next is S2, at exactly 30. With these two alone the table for most harbours is right within half an hour; with ten terms, within minutes; and the official tables use between thirty and sixty. What remains after that is weather. A low of 970 hPa lifts the sea by some forty centimetres, and wind that blows for a day along a shallow gulf can add two metres more. For that one still looks out of the window.
`
